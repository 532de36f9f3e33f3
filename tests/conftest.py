import os
import signal
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent/"golden"


def pytest_addoption(parser):
    parser.addoption("--golden", default=str(GOLDEN), help="folder of parity fixtures (.json and .npz) to test against")


def pytest_generate_tests(metafunc):
    "Every fixture of a kind becomes a test of its own: A passes, B trajectories, C losses, D metrics."
    if "fixture" in metafunc.fixturenames:
        kind = metafunc.function.kind
        folder = Path(metafunc.config.getoption("golden"))
        names = sorted(path.stem for path in folder.glob(f"{kind}*.json"))
        metafunc.parametrize("fixture", [folder/name for name in names], ids=names)


@pytest.fixture
def interrupts():
    "A job in the background has interrupts ignored."
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.fixture
def accelerate():
    "The library, before and after whose use this process has no Accelerator: there is one state of it a process."
    import accelerate
    def reset():
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerate.state.GradientState._reset_state()
    reset()
    yield accelerate
    reset()


# Variants of what other tests hold too, and faults tried at many places: minutes in all.
LONG = ("by_inductor", "every_refusal_of_the_system", "a_save_that_is_killed_anywhere", "no_room_at_any_operation",
        "of_an_eager_one[in batch]", "of_an_eager_one[shared prompts]", "of_an_eager_one[no prompts]",
        "of_an_eager_one[late, guided]",
        "of_an_eager_one[gru]", "of_an_eager_one[gru from the mean]", "of_an_eager_one[mix]",
        "a_kill_costs_minutes[changes2]", "a_kill_costs_minutes[changes4]", "the_best_epoch_is_kept[3]",
        "those_of_a_longer_run[changes1]", "those_of_a_longer_run[changes2]", "any_terminal[ascii]",
        "any_terminal[utf-8]", "evaluate_by_a_column_of_a_data_set", "evaluate_says_where_images_are_others",
        "commands_over_such_names", "fills_up_at_each_write_in_turn[8192]")


def pytest_collection_modifyitems(items):
    if os.environ.get("VPTSP_LONG"): return
    for item in items:
        if any(name in item.nodeid for name in LONG):
            item.add_marker(pytest.mark.skip(reason="takes long: VPTSP_LONG=1 make test"))
