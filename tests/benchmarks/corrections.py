"""Published corrections of hubs that need no label, each as what it takes off a candidate's scores.

All of them turn out to be a number per provider and candidate, read off a bank of queries: how
high the candidate is scored whatever is asked. They are given row-standardised scores, so that
one setting serves every provider. Peers of ``debiased``; what compares them is ``label_free.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bank = NDArray[np.float32]
"""Row-standardised scores of the bank's queries, (B, K, N); -inf where excluded."""
Offsets = NDArray[np.float32]
"""What is taken off, (K, N)."""


def nearest(bank: Bank, *, k: int, share: float) -> Offsets:
    """Return a share of the mean of each candidate's k highest scores.

    With a half and k = 10 it is CSLS (Conneau et al., Word Translation Without Parallel Data, ICLR
    2018), whose other term is the same for all candidates of a query; with other numbers NNN
    (Chowdhury et al., Nearest Neighbor Normalization, EMNLP 2024).

    Examples
    --------
    >>> bank = np.array([3, 1, 0], np.float32).reshape(3, 1, 1)
    >>> nearest(bank, k=2, share=0.5).tolist()
    [[1.0]]
    """
    k = min(k, len(bank))
    highest = np.partition(bank, len(bank) - k, axis=0)[len(bank) - k :]
    visible = np.isfinite(highest)
    total = np.where(visible, highest, 0).sum(axis=0, dtype=np.float64)
    offsets: Offsets = (share * total / np.maximum(visible.sum(axis=0), 1)).astype(np.float32)
    return offsets


def inverted_softmax(bank: Bank, *, sharpness: float) -> Offsets:
    """Return the logarithm of what the bank's softmax over queries divides by.

    References
    ----------
    Smith et al., Offline bilingual word vectors, orthogonal transformations and the inverted
    softmax, ICLR 2017.
    """
    peak = bank.max(axis=0)
    total = np.exp(sharpness * (bank - peak)).sum(axis=0)  # (B, K, N) -> (K, N)
    offsets: Offsets = (peak + np.log(total) / sharpness).astype(np.float32)
    return offsets


def sinkhorn(bank: Bank, *, sharpness: float, n_steps: int = 10) -> Offsets:
    """Return the offsets under which every candidate is asked for alike by the bank.

    Rows (queries of the bank) and columns (the gallery) of exp(sharpness x scores) are scaled in
    turn until both sum up evenly; a new query gets the columns' scale.

    References
    ----------
    Pan et al., Hubness Reduction with Dual Bank Sinkhorn Normalization, arXiv 2508.02538; their
    second bank is the gallery, here as there.
    """
    n_queries, n_providers, n_gallery = bank.shape
    offsets = np.empty((n_providers, n_gallery), np.float32)
    for provider in range(n_providers):
        scores = bank[:, provider].astype(np.float64)
        kernel = np.exp(sharpness * (scores - scores.max(axis=1, keepdims=True)))  # (B, N)
        columns = np.ones(n_gallery)
        for _ in range(n_steps):
            rows = n_gallery / (kernel @ columns)
            columns = n_queries / (rows @ kernel)
        offsets[provider] = -np.log(columns) / sharpness
    return offsets


def asked_for_first(bank: Bank) -> NDArray[np.bool_]:
    """Return which candidates some query of the bank ranks first, (K, N): QB-Norm's activation set.

    In the dynamic form a query is corrected only where its own first candidate is among them.

    References
    ----------
    Bogolin et al., Cross Modal Retrieval with Querybank Normalisation, CVPR 2022.

    Examples
    --------
    >>> bank = np.array([[[1, 0, 2]], [[0, 1, 3]]], np.float32)
    >>> asked_for_first(bank).tolist()
    [[False, False, True]]
    """
    _, n_providers, n_gallery = bank.shape
    first = np.zeros((n_providers, n_gallery), bool)
    first[np.arange(n_providers), bank.argmax(axis=2)] = True
    return first
