from pathlib import Path

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
