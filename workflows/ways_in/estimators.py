"""Networks of junctions as estimators of scikit-learn: three of trials, and a transformer of one long series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from spinloom.device_models.errors import SpinloomError
from spinloom.networks.loop import LoopState
from spinloom.networks.seeds import JUDGES
from spinloom.workflows.ways_in.driven import Model, Opened, draw_driven, drive, known_model, opened, telling, whole

FEATURES = ("mean", "square", "last")
_PIECE = 2000
"""Ticks that are kept at once: a trial may be long."""


class _Drawn(BaseEstimator):
    """Fixed weights that ``fit`` draws, and the nodes that they couple."""

    model: Any
    nodes: int
    spectral_radius: float
    density: float
    input: float
    bias: float
    gain: float
    hold: int
    seed: int
    engine: str | None

    def _draw(self, channels: int) -> None:
        self.model_ = known_model(self.model)
        names = ("nodes", "spectral_radius", "density", "input", "bias", "gain")
        fields = {name: getattr(self, name) for name in names}
        self.weights_ = draw_driven(self.model_.deviations, self.seed, channels, **fields)
        self._n_features_out = self.weights_.nodes


class _OfTrials(ClassNamePrefixFeaturesOutMixin, _Drawn):
    """Rows of X are trials, each a whole series, of which some numbers are kept."""

    channels: int
    washout: int
    features: Sequence[str]

    def _learn_inputs(self, X: np.ndarray) -> None:
        """Draw the weights for these rows, and check that they are series."""
        self._draw(whole("channels", self.channels, 1))
        self._samples(X)
        self._n_features_out = self.weights_.nodes * len(self._kept())

    def _kept(self) -> list[str]:
        names = [self.features] if isinstance(self.features, str) else list(self.features)
        if not names or len(set(names)) != len(names) or not set(names) <= set(FEATURES):
            raise SpinloomError(f"features: expected some of {', '.join(FEATURES)}, each once, got {self.features!r}")
        return names

    def _samples(self, X: np.ndarray) -> np.ndarray:
        """Rows as series, (n_samples, n_trials, channels)."""
        washout = whole("washout", self.washout, 0)
        n, rest = divmod(X.shape[1], self.channels)
        if rest or not n:
            raise SpinloomError(
                f"channels: expected rows of {self.channels} channels one after the other, each with as many samples, "
                f"got {X.shape[1]} columns"
            )
        if washout >= n:
            raise SpinloomError(f"washout: expected fewer than the {n} samples of a trial, got {washout}")
        return X.reshape(len(X), self.channels, n).transpose(2, 0, 1)

    def _features(self, X: np.ndarray, seed: int) -> np.ndarray:
        """Node signals of each trial, summed up: (n_trials, n_features_out)."""
        x, hold = self._samples(X), whole("hold", self.hold, 1)
        n_samples, trials, _ = x.shape
        ticks, nodes = n_samples * hold * trials, self.weights_.nodes
        with opened(self.model_, self.engine) as what, telling(f"{trials} trials", ticks, nodes, self.engine) as tell:
            starts = range(0, trials, what.together)
            parts = [self._block(what, x[:, at : at + what.together], seed + at, tell) for at in starts]
        return np.concatenate(parts)

    def _block(self, what: Opened, x: np.ndarray, seed: int, tell: Callable[[float], None]) -> np.ndarray:
        """The features of trials that run together."""
        trials = x.shape[1]

        def told(ticks: int) -> None:
            tell(ticks * trials)

        if what.even:
            x = np.pad(x, ((0, 0), (0, what.together - trials), (0, 0)))
        weights, samples = self.weights_.repeat(x.shape[1]), max(1, _PIECE // self.hold)
        state: LoopState | None = None
        sums: dict[str, Any] = dict.fromkeys(FEATURES, 0.0)
        for at in range(0, len(x), samples):
            piece = x[at : at + samples]
            state, r = drive(what.node, weights, piece, hold=self.hold, state=state, seed=seed, progress=told)
            r = r[max(0, self.washout - at) * self.hold :]
            sums["mean"], sums["square"] = sums["mean"] + r.sum(axis=0), sums["square"] + (r**2).sum(axis=0)
            sums["last"] = r[-1] if len(r) else sums["last"]
        counted = (len(x) - self.washout) * self.hold
        of = {"mean": sums["mean"] / counted, "square": sums["square"] / counted, "last": sums["last"]}
        return np.concatenate([of[name] for name in self._kept()], axis=1)[:trials]


class JunctionReservoir(TransformerMixin, _OfTrials):
    r"""A network of junctions as a transformer: each row of X is one trial, a series that drives the network.

    Junction i is driven by
    :math:`u_i = \mathrm{clip}\left(g\,\left(\sum_j W_{ij} r_j + \sum_c w_{ic} x_c + b_i\right), \pm 1\right)`,
    J = u times the reach times J_max, with r_j = (signal − mean) / spread of junction j and x_c the input of channel c.
    Every trial starts from equilibrium, so what comes out of a row depends on that row alone.

    Inputs are taken as they are: bring them to about ±1 first, with a ``StandardScaler``, say.

    Parameters
    ----------
    model : CalibratedModel, path or None
        what the junctions are, from ``spinloom.fit`` or ``spinloom fit``; None is the shipped model of ``disc60``,
        fitted to OOMMF
    nodes : int
        N, how many junctions
    spectral_radius : float
        largest modulus of an eigenvalue of W
    density : float
        share of W that is not zero
    input, bias : float
        input weights and biases are uniform between minus and plus this
    gain : float
        g, drive in units of the reach
    channels : int
        C, how many inputs there are at a time. A row holds all samples of the first channel, then those of the
        second: a (trials, channels, samples) array A is ``A.reshape(len(A), -1)``
    hold : int
        ticks that each sample is held for; a tick is ``model_.tick`` seconds
    washout : int
        first samples of each trial that features leave out
    features : str or sequence of str
        what is kept of the signal of each junction: ``mean`` and ``square``, its mean and mean square over all ticks
        after the washout; ``last``, its value at the end
    seed : int
        of the weights, and of the junctions' own noise where the model is warm
    engine : str or None
        None computes with the reduced model. ``embedded``, ``oommf`` or ``auto`` puts full micromagnetics in the place
        of every junction; it may be set after ``fit``, to verify what was fitted on the reduced model

    Attributes
    ----------
    model_ : CalibratedModel
    weights_ : Weights
        of one network; the input weights are its ``w_fb``, (1, N, C)
    n_features_in_ : int

    Notes
    -----
    With a warm model, ``fit_transform`` and ``transform`` take different noise, and a row's noise goes by its number.

    Examples
    --------
    Which of two frequencies is it? The phase is random, so the mean over trials of either is zero.

    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> rng = np.random.default_rng(0)
    >>> y, t = np.arange(40) % 2, np.arange(60)
    >>> X = np.sin(t / np.where(y, 5.0, 10.0)[:, None] + rng.uniform(0, 6.3, (40, 1)))
    >>> reads = make_pipeline(JunctionReservoir(nodes=5), RidgeClassifier(1e-3))
    >>> float(reads.fit(X[:20], y[:20]).score(X[20:], y[20:]))
    1.0
    """

    def __init__(
        self,
        model: Model = None,
        nodes: int = 40,
        spectral_radius: float = 0.168,
        density: float = 0.3,
        input: float = 1.7,
        bias: float = 0.8,
        gain: float = 0.8,
        channels: int = 1,
        hold: int = 1,
        washout: int = 0,
        features: str | Sequence[str] = FEATURES,
        seed: int = 0,
        engine: str | None = None,
    ) -> None:
        self.model = model
        self.nodes = nodes
        self.spectral_radius = spectral_radius
        self.density = density
        self.input = input
        self.bias = bias
        self.gain = gain
        self.channels = channels
        self.hold = hold
        self.washout = washout
        self.features = features
        self.seed = seed
        self.engine = engine

    def fit(self, X: Any, y: Any = None) -> JunctionReservoir:
        """Draw the weights; nothing is learned from the data but how many columns there are.

        Parameters
        ----------
        X : (n_trials, channels n_samples) array_like
        y : ignored

        Raises
        ------
        SpinloomError
            naming the parameter that cannot be used
        """
        self._learn_inputs(validate_data(self, X, dtype=np.float64))
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Draw the weights, and transform with the noise of the training, where the model is warm."""
        return self.fit(X)._of(X, int(self.seed))

    def transform(self, X: Any) -> np.ndarray:
        """Run the network on every trial.

        Parameters
        ----------
        X : (n_trials, channels n_samples) array_like

        Returns
        -------
        features : (n_trials, N features) ndarray
            of all junctions the first feature, then of all the second; in units of the spread
        """
        check_is_fitted(self)
        return self._of(X, int(self.seed) + JUDGES)

    def _of(self, X: Any, seed: int) -> np.ndarray:
        return self._features(validate_data(self, X, reset=False, dtype=np.float64), seed)


class _Read(_OfTrials):
    """A network of junctions with a read-out."""

    ridge: float

    def __init__(
        self,
        model: Model = None,
        nodes: int = 40,
        spectral_radius: float = 0.168,
        density: float = 0.3,
        input: float = 1.7,
        bias: float = 0.8,
        gain: float = 0.8,
        channels: int = 1,
        hold: int = 1,
        washout: int = 0,
        features: str | Sequence[str] = FEATURES,
        ridge: float = 1e-5,
        seed: int = 0,
        engine: str | None = None,
    ) -> None:
        self.model = model
        self.nodes = nodes
        self.spectral_radius = spectral_radius
        self.density = density
        self.input = input
        self.bias = bias
        self.gain = gain
        self.channels = channels
        self.hold = hold
        self.washout = washout
        self.features = features
        self.ridge = ridge
        self.seed = seed
        self.engine = engine

    def _fit_readout(self, X: np.ndarray, y: np.ndarray, readout: Any) -> Any:
        if not self.ridge > 0:
            raise SpinloomError(f"ridge: expected a penalty above 0, got {self.ridge!r}")
        self._learn_inputs(X)
        features = self._features(X, int(self.seed))
        self.readout_ = readout.fit(features, y)
        return self

    def _seen(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self._features(X, int(self.seed) + JUDGES)


class JunctionRegressor(MultiOutputMixin, RegressorMixin, _Read):
    """A network of junctions that tells numbers from a series: :class:`JunctionReservoir` and a ridge regression.

    Parameters
    ----------
    model, nodes, spectral_radius, density, input, bias, gain, channels, hold, washout, features, seed, engine
        as of :class:`JunctionReservoir`
    ridge : float
        penalty of the read-out, on signals in units of their spread

    Attributes
    ----------
    readout_ : sklearn.linear_model.Ridge
    model_, weights_, n_features_in_
        as of :class:`JunctionReservoir`

    Examples
    --------
    The frequency of a sine of random phase:

    >>> rng = np.random.default_rng(0)
    >>> y, t = rng.uniform(0.1, 0.2, 80), np.arange(60)
    >>> X = np.sin(y[:, None] * t + rng.uniform(0, 6.3, (80, 1)))
    >>> bool(JunctionRegressor(nodes=20).fit(X[:60], y[:60]).score(X[60:], y[60:]) > 0.9)
    True
    """

    def fit(self, X: Any, y: Any) -> JunctionRegressor:
        """Draw the weights and fit the read-out.

        Parameters
        ----------
        X : (n_trials, channels n_samples) array_like
        y : (n_trials,) or (n_trials, n_targets) array_like

        Raises
        ------
        SpinloomError
            naming the parameter that cannot be used
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        return self._fit_readout(X, y, Ridge(alpha=self.ridge))

    def predict(self, X: Any) -> np.ndarray:
        """What the read-out says of every trial, (n_trials,) or (n_trials, n_targets)."""
        seen = self._seen(X)
        return self.readout_.predict(seen)


class JunctionClassifier(ClassifierMixin, _Read):
    """A network of junctions that tells series apart: :class:`JunctionReservoir` and a ridge classifier.

    Parameters
    ----------
    model, nodes, spectral_radius, density, input, bias, gain, channels, hold, washout, features, seed, engine
        as of :class:`JunctionReservoir`
    ridge : float
        penalty of the read-out, on signals in units of their spread

    Attributes
    ----------
    classes_ : (n_classes,) ndarray
    readout_ : sklearn.linear_model.RidgeClassifier
    model_, weights_, n_features_in_
        as of :class:`JunctionReservoir`

    Examples
    --------
    A network that was trained on the reduced model answers with every junction in full micromagnetics:

    >>> rng = np.random.default_rng(0)
    >>> y, t = np.array(["slow", "fast"] * 10), np.arange(30)
    >>> X = np.sin(t / np.where(y == "slow", 8.0, 3.0)[:, None] + rng.uniform(0, 6.3, (20, 1)))
    >>> reads = JunctionClassifier(nodes=5).fit(X, y)
    >>> reads.predict(X[:2]), reads.set_params(engine="embedded").predict(X[:2])
    (array(['slow', 'fast'], dtype='<U4'), array(['slow', 'fast'], dtype='<U4'))
    """

    def fit(self, X: Any, y: Any) -> JunctionClassifier:
        """Draw the weights and fit the read-out.

        Parameters
        ----------
        X : (n_trials, channels n_samples) array_like
        y : (n_trials,) array_like
            classes

        Raises
        ------
        SpinloomError
            naming the parameter that cannot be used
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise SpinloomError(f"y: expected at least two classes, got one class, {self.classes_[0]}")
        return self._fit_readout(X, y, RidgeClassifier(alpha=self.ridge))

    def decision_function(self, X: Any) -> np.ndarray:
        """How far each class stands out, (n_trials, n_classes); (n_trials,) for two, positive for the second."""
        seen = self._seen(X)
        return self.readout_.decision_function(seen)

    def predict(self, X: Any) -> np.ndarray:
        """The class of every trial, (n_trials,)."""
        seen = self._seen(X)
        return self.readout_.predict(seen)


class JunctionSeries(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Drawn):
    """A network of junctions as a transformer of one long series: the rows of X are samples, one after the other.

    The network is that of :class:`JunctionReservoir`, with a channel for each column. Every call starts from
    equilibrium, so the first rows of each are a transient. Rows depend on all rows before them: shuffle neither them
    nor folds (``TimeSeriesSplit``, ``train_test_split(shuffle=False)``).

    Parameters
    ----------
    model, nodes, spectral_radius, density, input, bias, gain, seed, engine
        as of :class:`JunctionReservoir`
    hold : int
        ticks that each sample is held for: as many as a junction needs to answer. 20 are a third of a period of the
        shipped junction's resonance

    Attributes
    ----------
    model_, weights_, n_features_in_
        as of :class:`JunctionReservoir`

    Examples
    --------
    The product of the last two inputs before now, which takes memory and is not linear:

    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> x = np.random.default_rng(0).uniform(-1, 1, 600)
    >>> y = np.roll(x, 1) * np.roll(x, 2)
    >>> memory = make_pipeline(JunctionSeries(), Ridge(1e-3)).fit(x[:400, None], y[:400])
    >>> round(memory.score(x[400:, None], y[400:]), 1)
    0.8
    """

    def __init__(
        self,
        model: Model = None,
        nodes: int = 40,
        spectral_radius: float = 0.168,
        density: float = 0.3,
        input: float = 1.7,
        bias: float = 0.8,
        gain: float = 0.8,
        hold: int = 20,
        seed: int = 0,
        engine: str | None = None,
    ) -> None:
        self.model = model
        self.nodes = nodes
        self.spectral_radius = spectral_radius
        self.density = density
        self.input = input
        self.bias = bias
        self.gain = gain
        self.hold = hold
        self.seed = seed
        self.engine = engine

    def fit(self, X: Any, y: Any = None) -> JunctionSeries:
        """Draw the weights; nothing is learned from the data but how many columns there are.

        Parameters
        ----------
        X : (n_samples, channels) array_like
        y : ignored

        Raises
        ------
        SpinloomError
            naming the parameter that cannot be used
        """
        X = validate_data(self, X, dtype=np.float64)
        self._draw(X.shape[1])
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Draw the weights, and transform with the noise of the training, where the model is warm."""
        return self.fit(X)._signals(X, int(self.seed))

    def transform(self, X: Any) -> np.ndarray:
        """Run the network from equilibrium.

        Parameters
        ----------
        X : (n_samples, channels) array_like

        Returns
        -------
        r : (n_samples, N) ndarray
            signals at the end of each sample's last tick, in units of the spread
        """
        check_is_fitted(self)
        return self._signals(X, int(self.seed) + JUDGES)

    def _signals(self, X: Any, seed: int) -> np.ndarray:
        X, hold = validate_data(self, X, reset=False, dtype=np.float64), whole("hold", self.hold, 1)
        state, parts = None, []
        ticks, nodes = len(X) * hold, self.weights_.nodes
        with opened(self.model_, self.engine) as what, telling("a series", ticks, nodes, self.engine) as tell:
            for at in range(0, len(X), max(1, _PIECE // hold)):
                piece = X[at : at + max(1, _PIECE // hold), None]
                state, r = drive(what.node, self.weights_, piece, hold=hold, state=state, seed=seed, progress=tell)
                parts.append(r[hold - 1 :: hold, 0])
        return np.concatenate(parts)
