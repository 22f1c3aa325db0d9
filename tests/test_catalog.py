"""A broken plugin is a row with its reason; wrong names, options and hooks are said at once."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from dafm_core import catalog as plugins
from dafm_core.catalog import PluginCatalog
from dafm_core.contract.descriptions import (
    API_VERSION,
    DatasetInfo,
    FuserInfo,
    Option,
    ProviderInfo,
)
from dafm_core.contract.hookspecs import hookimpl
from dafm_core.errors import OptionError, ProviderError
from dafm_core.fusion.static import MeanFusion


class Good:
    """A plugin with one of each."""

    @hookimpl
    def dafm_similarity_providers(self):
        options = (
            Option(name="checkpoint", summary="the file", kind="path", required=True),
            Option(name="batch_size", summary="images at once", kind="int", default=8),
            Option(name="half", summary="use float16", kind="bool"),
        )
        return [
            ProviderInfo(name="good", summary="fine", factory=make_good, options=options),
            ProviderInfo(name="broken", summary="not there", factory="no_such_module:load"),
            ProviderInfo(name="fails", summary="raises", factory=fail),
            ProviderInfo(name="odd", summary="no provider", factory=dict),
        ]

    @hookimpl
    def dafm_datasets(self):
        return [
            DatasetInfo(name="there", summary="", factory=make_dataset, splits=("val", "train"))
        ]


def make_good(**options):
    return SimpleNamespace(similarity=lambda queries, gallery: None, options=options)


def fail():
    raise ValueError("weights are\nmissing")


def make_dataset(path, *, split):
    return path, split


@pytest.fixture
def catalog():
    catalog = PluginCatalog()
    catalog.register(Good(), name="good")
    return catalog


@pytest.fixture
def install(monkeypatch):
    """Pretend that entry points are installed."""

    def install(**values):
        entries = [EntryPoint(name, value, "dafm") for name, value in values.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries)

    return install


def test_core_registers_through_its_own_hooks(install):
    install()
    catalog = PluginCatalog.discover()
    (core,) = catalog.plugins
    assert core.name == "dafm-core"
    assert not core.error
    assert {"mean", "light"} <= set(catalog.fusers)


def test_a_broken_plugin_is_a_row_and_the_others_load(install, tmp_path, monkeypatch):
    (tmp_path / "crashes.py").write_text("raise SystemError('half installed')")
    monkeypatch.syspath_prepend(tmp_path)
    install(a_missing="no_such_module_at_all", b_crashes="crashes", c_fine="tests_fine_plugin")
    (tmp_path / "tests_fine_plugin.py").write_text("")
    rows = {status.name: status for status in PluginCatalog.discover().plugins}
    assert "ModuleNotFoundError" in rows["a_missing"].error
    assert rows["b_crashes"].error == "SystemError: half installed"
    assert rows["c_fine"].error == ""


def test_plugins_are_disabled_by_name(install, monkeypatch):
    install(a="no_such_module", b="no_such_module")
    monkeypatch.setenv("DAFM_DISABLED_PLUGINS", "a, c")
    rows = {status.name: status.error for status in PluginCatalog.discover().plugins}
    assert rows["a"] == "disabled"
    assert rows["b"] != "disabled"


def test_a_misspelt_hook_is_an_error():
    class Misspelt:
        @hookimpl
        def dafm_similarity_provider(self):
            return []

    with pytest.raises(ProviderError, match="dafm_similarity_provider"):
        PluginCatalog().register(Misspelt(), name="misspelt")


def test_another_api_version_is_an_error():
    plugin = SimpleNamespace(dafm_api_version=API_VERSION + 1)
    with pytest.raises(ProviderError, match="API version 3, this dafm-core has 2"):
        PluginCatalog().register(plugin, name="future")


def test_a_plugin_of_version_1_is_refused_in_one_line_that_says_what_to_change():
    with pytest.raises(
        ProviderError, match=r"'old'.*API version 1.*encode_queries\(queries\)"
    ) as error:
        PluginCatalog().register(SimpleNamespace(dafm_api_version=1), name="old")
    assert "\n" not in str(error.value)


def test_a_provider_that_encodes_references_and_texts_is_refused_when_it_is_loaded():
    class Old:
        def encode_gallery(self, images): ...

        def encode_queries(self, references, texts): ...

        def similarity(self, queries, gallery): ...

    class Plugin:
        @hookimpl
        def dafm_similarity_providers(self):
            return [ProviderInfo(name="old", summary="", factory=Old)]

    catalog = PluginCatalog()
    catalog.register(Plugin(), name="plugin")
    with pytest.raises(
        ProviderError, match=r"'old': as in API version 1\. encode_queries\(queries\)"
    ):
        catalog.load_provider("old")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (["sprc"], "expected ProviderInfo, got 'sprc'"),
        ([ProviderInfo(name="A b", summary="", factory=dict)], "name 'A b' is not"),
        ([ProviderInfo(name="good", summary="", factory=dict)], "the name 'good' is taken"),
    ],
)
def test_malformed_descriptions_add_nothing(catalog, described, said):
    class Plugin:
        @hookimpl
        def dafm_similarity_providers(self):
            return described

        @hookimpl
        def dafm_fusers(self):
            return [FuserInfo(name="new", summary="", factory=dict, kind="static")]

    with pytest.raises(ProviderError, match=said):
        catalog.register(Plugin(), name="second")
    assert catalog.fusers == {}


def test_options_arrive_typed_with_defaults(catalog):
    provider = catalog.load_provider("good", {"checkpoint": "w.pt", "half": "yes"})
    assert provider.options["checkpoint"].name == "w.pt"
    assert provider.options["batch_size"] == 8
    assert provider.options["half"] is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "option 'checkpoint' is required"),
        (
            {"checkpoint": "w", "batchsize": "1"},
            "unknown option 'batchsize'; did you mean 'batch_size'",
        ),
        ({"checkpoint": "w", "batch_size": "many"}, "'batch_size' expects int, got 'many'"),
        ({"checkpoint": "w", "half": "maybe"}, "'half' expects bool, got 'maybe'"),
    ],
)
def test_wrong_options_are_said(catalog, options, said):
    with pytest.raises(OptionError, match=f"provider 'good': .*{said}"):
        catalog.load_provider("good", options)


def test_choices_offer_the_closest():
    option = Option(name="rule", summary="", choices=("paper", "fixed"))
    with pytest.raises(OptionError, match="did you mean 'paper'"):
        option.parse("papr", where="fuser 'light'")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "cannot import no_such_module:load"),
        ("fails", r"its factory failed \(ValueError: weights are\)"),
        ("odd", "returned {}, no provider"),
    ],
)
def test_a_provider_that_does_not_load_is_named(catalog, name, said):
    with pytest.raises(ProviderError, match=f"provider '{name}': .*{said}"):
        catalog.load_provider(name)


def test_unknown_names_offer_the_closest(catalog):
    with pytest.raises(OptionError, match="unknown provider 'god'; did you mean 'good'"):
        catalog.load_provider("god")


def test_datasets_are_opened_by_name_path_and_split(catalog):
    assert catalog.load_dataset("there:x/y") == ("x/y", "val")
    assert catalog.load_dataset("there:x", split="train") == ("x", "train")
    with pytest.raises(OptionError, match="expected there:PATH"):
        catalog.load_dataset("there")
    with pytest.raises(OptionError, match="no split 'vall'; did you mean 'val'"):
        catalog.load_dataset("there:x", split="vall")


LISTING = """
import sys
from dafm_core.cli.main import main
assert main([{command!r}]) == 0
banned = {{"torch", "sklearn", "transformers", "polars", "matplotlib", "lightgbm"}}
assert not banned & set(sys.modules), banned & set(sys.modules)
"""


@pytest.mark.parametrize("command", ["plugins", "providers", "fusers", "datasets"])
def test_listing_imports_nothing_heavy(command):
    code = LISTING.format(command=command)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("data/cirr", "expected NAME:PATH; did you mean 'cirr:data/cirr'?"),
        ("data/FashionIQ-v1/", "did you mean 'fashioniq:data/FashionIQ-v1/'?"),
        ("./my/shop", "did you mean 'folder:./my/shop'?"),
        ("cir:data/cirr", "did you mean 'cirr'?"),
        ("zzz", "known: circo, cirr"),
    ],
)
def test_a_path_without_a_name_gets_the_name_that_fits(spec, hint):
    with pytest.raises(OptionError, match="unknown dataset") as error:
        PluginCatalog.discover().load_dataset(spec)
    assert hint in str(error.value)


def test_an_object_in_the_place_of_a_name_is_one_line():
    with pytest.raises(OptionError, match="expected the name of a fuser, got MeanFusion"):
        PluginCatalog.discover().load_fuser(MeanFusion())
