"""feedback: ratings and votes in; corrections, preferences and a held-out part of both out, and conversations to imitate.

data/feedback, data/chat -> data/feedback_clean, reports/feedback.json
"""

from pathlib import Path

from privllm.clean.recipe import CleanConfig, text_cleaner
from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.fingerprint import extensions_of
from privllm.engine.stage import run
from privllm.feedback.recipe import FeedbackConfig, feedback
from privllm.tasks.conversations import write_conversations
from privllm.validate.feedback_suite import judge_feedback
from privllm.validate.personal_data_left import leftovers


def main(source: Path, chat: Path, out: Path, report: Path) -> None:
    cfg = read_params("feedback", FeedbackConfig)
    clean = text_cleaner(read_params("clean", CleanConfig), extensions_of("feedback"))
    counts = feedback(cfg, source, out, clean, leftovers, judge_feedback)
    write_report(report, counts | {"chat": write_conversations(chat, out / "chat.jsonl", clean)})


if __name__ == "__main__":
    run(main)
