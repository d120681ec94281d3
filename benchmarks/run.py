"""`make bench`: our figures, one script after the other; each prints its table and writes benchmarks/out/<name>.json.

What trains for hours is run by hand: `python -m benchmarks.small_data SHAKESPEARE.txt`.
"""

from benchmarks import data_path, feedback, rebuild, second_run, serving, step

if __name__ == "__main__":
    for script in (data_path, step, second_run, rebuild, serving, feedback):
        script.main()
        print()
