"""Build hook: copies dvc.yaml, stages and the rest of a new project, and the documentation, from the repository into the wheel.

Everything else about the package stands in pyproject.toml.
"""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

REPOSITORY = Path(__file__).resolve().parent
sys.path.insert(0, str(REPOSITORY))

from privllm.project.contents import DOCUMENTATION, FOLDER, PACKAGED, copied_files, documentation_files  # noqa: E402


class BuildWithTemplate(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the originals are there
            return
        for folder, paths in ((PACKAGED, copied_files(REPOSITORY)), (DOCUMENTATION, documentation_files(REPOSITORY))):
            target = Path(self.build_lib, "privllm/project", folder.relative_to(FOLDER))
            for path in paths:
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(REPOSITORY / path, target / path)


setup(cmdclass={"build_py": BuildWithTemplate})
