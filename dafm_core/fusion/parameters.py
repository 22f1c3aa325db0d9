"""Constructor arguments by name, as scikit-learn asks for them and saved models keep them."""

from __future__ import annotations

import inspect
from typing import Any, Self

from dafm_core.errors import OptionError, closest


class Parameters:
    """An object whose constructor stores its keyword arguments under their own names."""

    @property
    def name(self) -> str:
        """Name of the class, which starts messages."""
        return type(self).__name__

    def clone(self) -> Self:
        """Return an unfitted fuser with the same constructor arguments."""
        return type(self)(**self.params())

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return :meth:`params`, as scikit-learn asks for them.

        Parameters
        ----------
        deep : bool, default=True
            Add the arguments of fusers among them, as ``name__argument``.
        """
        found = self.params()
        if deep:
            inner = {name: value for name, value in found.items() if isinstance(value, Parameters)}
            for name, value in inner.items():
                found |= {f"{name}__{key}": item for key, item in value.get_params().items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Change some constructor arguments; the fuser is unfitted then, and returned.

        What was learned belongs to the old arguments.

        Raises
        ------
        OptionError
            For an unknown argument (with the closest match), or a value that the class refuses.
        """
        known = self.params()
        for name in params:
            if name not in known:
                raise OptionError(f"{self.name}: unknown option {name!r}{closest(name, known)}")
        if params:
            self.__dict__ = type(self)(**{**known, **params}).__dict__
        return self

    def __sklearn_clone__(self) -> Self:
        """Return :meth:`clone`, for ``sklearn.base.clone``."""
        return self.clone()

    def __repr__(self) -> str:
        """Return the constructor's arguments that are not its defaults.

        Examples
        --------
        >>> from dafm_core.fusion.static import MeanFusion
        >>> MeanFusion(), MeanFusion(normalize="rank")
        (MeanFusion(), MeanFusion(normalize='rank'))
        """
        try:
            usual = type(self)().params()
        except (TypeError, OptionError):  # an argument is required
            usual = {}
        given = [f"{k}={v!r}" for k, v in self.params().items() if k not in usual or v != usual[k]]
        return f"{self.name}({', '.join(given)})"
