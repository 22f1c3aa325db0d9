"""What people expect of any command: versions, less and more words, standard output, completion."""

import json
import logging
import shutil
import subprocess
import sys

import pytest

import dafm_core
from dafm_core.cli.main import COMMANDS, main
from dafm_core.store.store import SimilarityStore


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small store with two models."""
    folder = tmp_path_factory.mktemp("manners") / "store"
    options = f"--dataset-set families=24 --store {folder}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAFM_CACHE", str(folder.parent / "cache"))
        for name in ("scenes-color", "scenes-words"):
            assert main(f"-q score scenes --provider {name} {options}".split()) == 0
    return folder


COMPARE = "--fusers mean,max --folds 2 --resamples 99"


def test_the_version_is_known_in_python_and_on_the_command_line(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.split()[1] == dafm_core.__version__
    assert main(["version"]) == main(["help"]) == 0
    with pytest.raises(SystemExit):
        main(["help", "lint"])
    assert "usage: dafm lint" in capsys.readouterr().out
    command = [sys.executable, "-m", "dafm_core", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert dafm_core.__version__ in result.stdout


def test_a_reader_that_leaves_does_not_cost_the_files_asked_for(store, tmp_path):
    """``dafm compare … --json FILE | head`` wrote no file, and exited with 1."""
    argv = [sys.executable, "-m", "dafm_core", "compare", str(store), *COMPARE.split()]
    argv += ["--json", str(tmp_path / "r.json")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.wait(timeout=120) == 0, process.stderr.read()
    assert json.loads((tmp_path / "r.json").read_text())["rows"]


def test_quiet_leaves_results_and_errors(store, tmp_path, capsys):
    argv = f"score scenes --dataset-set families=24 --store {tmp_path} --provider scenes-color"
    assert main([*argv.split(), "-q"]) == 0
    printed = capsys.readouterr()
    assert "scenes-color" in printed.out
    assert not printed.err
    assert main(["-q", "inspect", str(tmp_path / "nothing")]) == 2
    assert "not a similarity store" in capsys.readouterr().err


def test_verbose_says_where_an_error_was_noticed(tmp_path, caplog, capsys):
    for argv in (["inspect", "-v"], ["-v", "inspect"]):
        caplog.clear()
        assert main([*argv, str(tmp_path)]) == 2
        assert any(record.exc_info for record in caplog.records)
    assert logging.getLogger("dafm_core").level == logging.NOTSET
    caplog.clear()
    assert main(["inspect", str(tmp_path)]) == 2
    assert not caplog.records


def test_json_with_a_dash_is_all_that_standard_output_gets(store, capsys):
    incremental = f"incremental {store} --fuser mean --folds 2 --resamples 99 --json -"
    for argv in (f"compare {store} {COMPARE} --json -", incremental):
        assert main(argv.split()) == 0
        printed = capsys.readouterr()
        record = json.loads(printed.out)
        assert record["provenance"]["arguments"] == argv.split()
        assert record["provenance"]["data"]["n_queries"] == record["n_queries"]
        assert "scenes-color" in printed.err


@pytest.mark.parametrize(
    "argv", ["plugins --json -", "fusers mean --json -", "inspect STORE --json -"]
)
def test_a_dash_after_a_json_that_prints_anyhow_says_the_same(argv, store, capsys):
    words = argv.replace("STORE", str(store)).split()
    found = []
    for given in (words, words[:-1]):
        assert main(given) == 0
        found.append(json.loads(capsys.readouterr().out))
    for record in found:
        if isinstance(record, dict):  # the two commands are not the same
            assert record.pop("provenance")["command"].startswith("dafm inspect")
    assert found[0] == found[1]


def test_other_texts_may_be_printed_too_but_only_one_and_no_page(store, capsys):
    assert main(f"compare {store} {COMPARE} --csv -".split()) == 0
    assert capsys.readouterr().out.startswith("protocol,row,")
    refused = {
        "--report -": "expected a file",
        "--json - --csv -": "expected two files, got - twice",
    }
    for wrong, reason in refused.items():
        assert main(f"compare {store} {COMPARE} {wrong}".split()) == 2
        assert reason in capsys.readouterr().err


def test_where_results_go_is_looked_at_before_the_work(store, tmp_path, capsys):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "report.html"):
        assert main(f"compare {store} {COMPARE} --report {place}".split()) == 2
        printed = capsys.readouterr()
        assert not printed.out
        assert str(place) in printed.err


def test_a_result_is_repeated_from_its_file(store, tmp_path, capsys):
    result, moved = tmp_path / "result.json", tmp_path / "moved"
    assert main(f"compare {store} {COMPARE} --json {result}".split()) == 0
    capsys.readouterr()
    assert main(["compare", "--repeat", str(result)]) == 0
    assert "numbers agree to the last bit" in capsys.readouterr().out
    shutil.copytree(store, moved)
    assert main(["compare", str(moved), "--repeat", str(result), "--json", "-"]) == 0
    printed = capsys.readouterr()
    again, before = json.loads(printed.out), json.loads(result.read_text())
    assert again["rows"] == before["rows"]
    assert again["provenance"]["data"] == before["provenance"]["data"]


def test_other_numbers_are_an_error_that_says_what_has_changed(store, tmp_path, capsys):
    result, other = tmp_path / "result.json", tmp_path / "other"
    assert main(f"compare {store} {COMPARE} --json {result}".split()) == 0
    shutil.copytree(store, other)
    shutil.rmtree(other / "scenes-color")
    made = ["--dataset-set", "families=24", "--as", "scenes-color", "--store", str(other)]
    assert main(["-q", "score", "scenes", "--provider", "scenes-layout", *made]) == 0
    assert SimilarityStore.open(other).providers == ("scenes-color", "scenes-words")
    capsys.readouterr()
    assert main(["compare", str(other), "--repeat", str(result)]) == 2
    printed = capsys.readouterr()
    assert "changed: providers.scenes-color.passport_sha256 was" in printed.out
    assert "came out differently" in printed.err


def test_the_same_command_gives_the_same_bytes_and_a_date_on_request(store, tmp_path):
    made, page = tmp_path / "made.json", tmp_path / "made.html"
    command = f"compare {store} {COMPARE} --json {made} --report {page}".split()
    written = []
    for more in ([], [], ["--date"]):
        assert main([*command, *more]) == 0
        written.append((made.read_bytes(), page.read_bytes()))
    assert written[0] == written[1]
    date = json.loads(made.read_text())["provenance"]["date"]
    assert date.startswith("20")
    assert f"Made {date} by: dafm compare" in page.read_text()


def test_what_cannot_be_repeated_is_one_line(store, tmp_path, capsys):
    result = tmp_path / "result.json"
    assert main(f"compare {store} {COMPARE} --json {result}".split()) == 0
    assert main(["compare", "--repeat", str(result), "--seed", "1"]) == 2
    assert "got --seed" in capsys.readouterr().err
    record = json.loads(result.read_text())
    del record["provenance"]["arguments"]
    odd = [record | {"provenance": value} for value in (1, {"arguments": [[1]]})]
    odd += [{"comparisons": 1}, record]
    for text in ("[1]", "{}", "no JSON", "[" * 100_000, *map(json.dumps, odd)):
        (tmp_path / "other.json").write_text(text)
        assert main(["compare", "--repeat", str(tmp_path / "other.json")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["compare"]) == 2
    assert "expected a STORE" in capsys.readouterr().err


def test_no_color_leaves_colours_out(store, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["inspect", str(store)]) == 0
    assert "\x1b[" in capsys.readouterr().out  # bold, at least
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["inspect", str(store)]) == 0
    text = capsys.readouterr().out
    assert not {f"\x1b[{code}m" for code in range(30, 48)} & set(text.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command_and_fuser(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in (*COMMANDS, "--folds" if shell != "fish" else "folds", "voting-rrf", "cirr"):
        assert name in script
    if shell == "fish":  # its own way to go on with a list
        assert "-l fusers -x -a '(__fish_append , best-single" in script
        assert "-l fuser -x -a 'best-single" in script


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dafm comp", "compare completion"),
        ("dafm train --fuser voting-r", "voting-rrf"),
        ("dafm submit c", "cirr circo"),
        ("dafm compare --fo", "--folds"),
        ("dafm new-plugin x --kind p", "provider pair"),
        ("dafm compare --fusers max,voting-b", "max,voting-borda"),
        ("dafm compare --providers clip4cir,clip4cir-s", "clip4cir,clip4cir-sum"),
    ],
)
def test_bash_completes(typed, offered, capsys):
    assert main(["completion", "bash"]) == 0
    words = typed.split()
    ask = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _dafm"
    script = f'{capsys.readouterr().out}\n{ask}; echo "${{COMPREPLY[@]}}"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == offered.split()
