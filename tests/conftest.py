from pathlib import Path

def pytest_addoption(parser):
    parser.addoption("--golden", default=str(Path(__file__).parent/"golden"), help="folder of parity fixtures (.json and .npz) to test against")

def pytest_generate_tests(metafunc):
    "Every fixture of a kind becomes a test of its own: A passes, B trajectories, C losses, D metrics."
    if "fixture" in metafunc.fixturenames:
        kind = metafunc.function.kind
        names = sorted(p.stem for p in Path(metafunc.config.getoption("golden")).glob(f"{kind}*.json"))
        metafunc.parametrize("fixture", [Path(metafunc.config.getoption("golden"))/n for n in names], ids=names)
