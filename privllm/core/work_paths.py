"""Paths below `.privllm`, the untracked folder of logs, caches and unfinished work.

Every path of the repository that lies in that folder is named here and nowhere else. No result of a
build depends on what lies there, and no stage declares it. Nothing is created or removed by this
module.
"""

from pathlib import Path

WORK_FOLDER = Path(".privllm")

LOG_FILE = WORK_FOLDER / "log.jsonl"  # durations of stages, `engine.stage`
DIGESTS_FILE = WORK_FOLDER / "digests.json"  # MD5s of files, `engine.digests`
MODULES_FILE = WORK_FOLDER / "modules.json"  # what modules import and mean, `engine.module_analysis`
PARAMS_CHECK_FILE = WORK_FOLDER / "params.json"  # last check of params.yaml, `engine.params_check`
SOURCES_INDEX = WORK_FOLDER / "sources.arrow"  # statuses and MD5s of the source files, `collect.recipe`
CHECKPOINTS = WORK_FOLDER / "work"  # <stage>/<family or task>: checkpoints of unfinished trainings

BASE_FOLDER = WORK_FOLDER / "base"  # <name>: what `privllm base add` copies, until it is whole
AUDIT_FOLDER = WORK_FOLDER / "audit"  # scratch folder of `privllm audit`
BUNDLE_FOLDER = WORK_FOLDER / "bundle"  # <machine>: wheels that `privllm bundle` downloaded
PULL_FOLDER = WORK_FOLDER / "pull"  # actions from a remote, until `privllm pull` takes or refuses them
PROMOTION_FOLDER = WORK_FOLDER / "promote"  # what `privllm promote` copies, until it is whole
UPGRADE_JOURNAL = (
    WORK_FOLDER / "upgrade.json"
)  # a project's files while an upgrade plans with others, `project.upgrade`
FORGET_NOTE = WORK_FOLDER / "forget.parquet"  # what `privllm forget` has yet to prove absent
FORGET_FEEDBACK_NOTE = WORK_FOLDER / "forget-feedback.parquet"  # likewise of `privllm feedback forget`

ARENA_FOLDER = WORK_FOLDER / "arena"  # <commit>/export: exports of other revisions, `serve.revisions`
SIGNING_KEY_FILE = WORK_FOLDER / "signing.key"  # by which a rating proves its reply, `serve.signatures`
PEOPLE_FILE = WORK_FOLDER / "people.sqlite"  # access tokens, ratings and votes, `serve.database`
