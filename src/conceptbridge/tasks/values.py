"""Numbers, as a site's own training rows make them comparable: bins without a reference range, and standardised values.

Each concept and unit is judged by itself: there is no table of units here, and no other site's rows are used.
"""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.records import BIN_CUTS, BIN_STATES, BINNED, concept_key
from conceptbridge.vocabulary.build import token_key

BINS = pa.list_(pa.struct([("unit", pa.string()), ("lower", pa.float64()), ("upper", pa.float64())]))
SCALES = pa.list_(pa.struct([("unit", pa.string()), ("center", pa.float64()), ("spread", pa.float64())]))

QUARTILES = (0.25, 0.5, 0.75)
#: the interquartile range of a normal distribution, in its standard deviations
NORMAL_RANGE = 1.349
#: where a standardised value is clipped, so that a slip of the pen does not outweigh all others
MAX_VALUE = 5
#: an age token's value is (years - first) / second, the same at all sites
AGE_SCALE = (50, 20)

#: what has bins and a scale of its own; standard concepts are the same in any domain and under any text
_KEY = "concept_id, domain, source, unit"


def fit_scales(db: duckdb.DuckDBPyConnection, domains: Sequence[str], min_values: int, values: bool) -> None:
    """Make the table ``scales`` (concept_id, domain, source, unit, cuts, center, spread) from training rows' windows.

    ``cuts`` are where the bins of values without a reference range begin; ``center`` is the median of all values and
    ``spread`` their interquartile range / ``NORMAL_RANGE``, if ``values`` asks for them. They are null where there are
    fewer than ``min_values`` such values, the latter two also where half of the values are the same.

    Out of core: the database sorts the values, and only those next to a quantile are kept.
    """
    wanted = "value IS NOT NULL" if values else f"state = '{BINNED}'"
    own = "CASE WHEN concept_id = 0 THEN {0} ELSE '' END AS {0}"
    windows = " UNION ALL ".join(
        f"SELECT concept_id, {own.format('domain')}, {own.format('source')}, unit, value, state = '{BINNED}' AS binned "
        f"FROM {domain}_records v JOIN rows c ON c.person_id = v.person_id AND v.date BETWEEN c.first AND c.last "
        f"WHERE c.training AND {wanted}"
        for domain in domains
        if domain in DOMAINS and DOMAINS[domain].values
    )
    nothing = "SELECT 0 AS concept_id, '' AS domain, '' AS source, '' AS unit, 0.0 AS value, true AS binned WHERE false"
    db.execute(
        f"""
        CREATE TABLE counted AS SELECT {_KEY}, row_number() OVER (ORDER BY {_KEY}) - 1 AS place, n, n_binned
        FROM (SELECT {_KEY}, count(*) AS n, count(*) FILTER (binned) AS n_binned
              FROM ({windows or nothing}) GROUP BY ALL HAVING n >= {min_values})
        """
    )
    counts = db.sql("SELECT n, n_binned FROM counted ORDER BY place").to_arrow_table()
    n, n_binned = (counts[name].to_numpy() for name in counts.column_names)
    in_bins = n_binned >= min_values
    cuts, quartiles = _Quantiles(n_binned[in_bins], BIN_CUTS), _Quantiles(n if values else n[:0], QUARTILES)
    ordered = f"""
        SELECT value, binned AND n_binned >= {min_values} FROM ({windows or nothing}) JOIN counted USING ({_KEY})
        ORDER BY place, value
    """
    for batch in db.sql(ordered).to_arrow_reader(1 << 20):
        value, binned = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        cuts.read(value[binned])
        if values:
            quartiles.read(value)
    of_bins: list[list[float] | None] = [None] * len(n)
    for place, of_place in zip(np.flatnonzero(in_bins), cuts.result().tolist(), strict=True):
        of_bins[place] = of_place
    center, spread = np.full((2, len(n)), np.nan)
    if values:
        lower, center, upper = quartiles.result().T
        spread = (upper - lower) / NORMAL_RANGE
    none = ~(np.isfinite(center) & np.isfinite(spread) & (spread > 0))
    fitted = {"place": np.arange(len(n)), "cuts": pa.array(of_bins, pa.list_(pa.float64()))}
    fitted |= {"center": pa.array(center, mask=none), "spread": pa.array(spread, mask=none)}
    db.register("fitted", pa.table(fitted))
    db.execute(f"CREATE TABLE scales AS SELECT {_KEY}, cuts, center, spread FROM counted JOIN fitted USING (place)")


class _Quantiles:
    """Quantiles of groups of values that pass by in order, as NumPy's default has them; only those next to one stay."""

    def __init__(self, n: NDArray[np.int64], shares: Sequence[float]) -> None:
        self.at = np.multiply.outer(n - 1, np.array(shares))
        self.below = np.floor(self.at).astype(np.int64) + (np.cumsum(n) - n)[:, None]
        self.above = self.below + (self.at > np.floor(self.at))
        self.wanted = np.unique([self.below, self.above])
        self.neighbours, self.seen = np.empty(len(self.wanted)), 0

    def read(self, values: NDArray[np.float64]) -> None:
        here = slice(*np.searchsorted(self.wanted, [self.seen, self.seen + len(values)]))
        self.neighbours[here] = values[self.wanted[here] - self.seen]
        self.seen += len(values)

    def result(self) -> NDArray[np.float64]:
        """Return the quantiles: shape (groups, shares)."""
        low, high = (self.neighbours[np.searchsorted(self.wanted, at)] for at in (self.below, self.above))
        result: NDArray[np.float64] = low + (high - low) * (self.at - np.floor(self.at))
        return result


def scaled_records(records: str, mapped: bool) -> str:
    """Return SQL of records of a domain with values: states of their bins, and the standardised value as ``scaled``.

    ``records`` are all ``mapped``, or none is. A value that would need bins where there are none has no state.
    """
    same = "b.concept_id = r.concept_id" if mapped else "b.domain = r.domain AND b.source = r.source"
    bins = " ".join(f"WHEN value <= cuts[{n}] THEN '{BIN_STATES[n - 1]}'" for n in range(1, len(BIN_CUTS) + 1))
    return f"""
        SELECT r.* REPLACE (CASE WHEN r.state <> '{BINNED}' THEN r.state WHEN b.cuts IS NULL THEN NULL
                                 {bins} ELSE '{BIN_STATES[-1]}' END AS state),
               CASE WHEN r.value IS NOT NULL AND b.spread IS NOT NULL
                    THEN greatest(-{MAX_VALUE}, least({MAX_VALUE}, (r.value - b.center) / b.spread)) END AS scaled
        FROM ({records}) r LEFT JOIN scales b ON {same} AND b.unit = r.unit
        WHERE coalesce(r.value_concept, 0) NOT IN (FROM hidden)
    """


def bins_by_token(site: str) -> str:
    """Return SQL of the bins of tokens: key, bins (``BINS``)."""
    bins = " UNION ALL ".join(
        f"SELECT {concept_key(site)} AS concept, '{state}' AS state, unit, {f'cuts[{n}]' if n else 'NULL'} AS lower, "
        f"{f'cuts[{n + 1}]' if n < len(BIN_CUTS) else 'NULL'} AS upper FROM scales WHERE cuts IS NOT NULL"
        for n, state in enumerate(BIN_STATES)
    )
    return f"""
        SELECT {token_key("concept", "state")} AS key,
               list({{'unit': unit, 'lower': lower, 'upper': upper}} ORDER BY unit) AS bins
        FROM ({bins}) GROUP BY ALL
    """


def scales_by_concept(site: str) -> str:
    """Return SQL of the scales of concepts: concept (its key), scales (``SCALES``)."""
    return f"""
        SELECT {concept_key(site)} AS concept,
               list({{'unit': unit, 'center': center, 'spread': spread}} ORDER BY unit) AS scales
        FROM scales WHERE spread IS NOT NULL GROUP BY ALL
    """
