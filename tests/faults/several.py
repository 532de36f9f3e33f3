"""Two processes with half of a batch each beside one with the whole: every method, optimizer and way in which a class
falls to them, ten steps each. Right: losses, tensors and optimizer state are those of one to 1e-5, in 64 bits to 1e-9,
and the same bits in both processes."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_world import World, among, cases, differing, plain, run_case

CASES = list(dict.fromkeys(cases(every=True)))


def all_of(world): return {case: plain(run_case(case, world)) for case in CASES}


if __name__ == "__main__":
    both, good = among(2, all_of, limit=3600), 0
    for found in both:
        if isinstance(found, Exception): raise found
    for case in CASES:
        wrong = differing([found[case] for found in both], run_case(case, World()))
        good += not wrong
        print("FAIL" if wrong else "OK  ", " | ".join(case), wrong[:3] or "", flush=True)
    print(f"FIGURE several {good}/{len(CASES)}")
    sys.exit(good < len(CASES))
