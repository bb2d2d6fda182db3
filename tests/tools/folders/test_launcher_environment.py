"""Variables that a tool declares are the tool's."""

import shutil
import subprocess

import pytest

from tests.tools.folders.kit import write_tool
from valetkey import Pocket, from_local

CODE = """
#include <stdio.h>
__attribute__((constructor)) static void go(void) {
    char line[300] = {0};
    FILE *told = fopen("/proc/self/cmdline", "r"), *ran = fopen("RAN", "a");
    int size = fread(line, 1, 299, told);
    for (int at = 0; at < size; at++) if (!line[at]) line[at] = ' ';
    fprintf(ran, "%s\\n", line);
    fclose(ran);
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a compiler")
def test_a_variable_of_the_tools_does_not_change_the_program_that_watches_it(tmp_path, home):
    place, ran = write_tool(tmp_path / "tool", variables={"LD_PRELOAD": "./it.so"}), tmp_path / "ran"
    (tmp_path / "it.c").write_text(CODE.replace("RAN", str(ran)))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", place / "it.so", tmp_path / "it.c"], check=True)
    with Pocket(tools=[from_local(place)]) as pocket:
        assert pocket.invoke("my_tool", {"text": "hi"}) == "echo hi"
    assert "launcher.py" not in ran.read_text()
