"""`make bench`: every figure we claim, one script after the other; each prints its table and writes benchmarks/out/<name>.json."""

from benchmarks import data_path, feedback, pretraining, rebuild, second_run, serving

if __name__ == "__main__":
    for script in (data_path, pretraining, second_run, rebuild, serving, feedback):
        script.main()
        print()
