"""The built-in network: what an extract holds, how hospitals differ, and that nothing gives influenza away."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.simulate.full_cdm import MORE_TABLES
from conceptbridge.simulate.habits import draw_habits
from conceptbridge.simulate.names import SECTIONS, concepts, draw_names, findings
from conceptbridge.simulate.network import naming_of, simulate, streams, write_extract
from conceptbridge.simulate.population import causes, deaths, model, people
from conceptbridge.simulate.population import emergencies as emergency_visits
from conceptbridge.study.study import HOSPITALS as STUDY_HOSPITALS

HOSPITALS = ["riverside", "lakeshore", "prairie"]  # those of the demo
OF_OWN_HABITS = ["highland", "canyon"]
#: SHA-256 of all rows of 2,000 persons, seed 3, before there were other hospitals
DIGESTS = {
    "riverside": "a70c861f7f82a8f7e5347cae0f6f5f8ba80f129d02cbfaebeb132a0f690e7f1d",
    "lakeshore": "b2c1a0bca742b69af80fc1cdd558439dc4ceb5378be4d7080b0602ca075d0f89",
    "prairie": "1a3f4d24108d934c0d2c58f084f18c4371ceaa28202d05d07fdb9fff565b6dce",
}
CONCEPT_NAMES = Path(__file__).parents[3] / "shared" / "data" / "concept-names.parquet"
EVENTS = {
    "condition_occurrence": ("condition_concept_id", "condition_start_date", "condition_source_value"),
    "drug_exposure": ("drug_concept_id", "drug_exposure_start_date", "drug_source_value"),
    "procedure_occurrence": ("procedure_concept_id", "procedure_date", "procedure_source_value"),
    "measurement": ("measurement_concept_id", "measurement_date", "measurement_source_value"),
    "observation": ("observation_concept_id", "observation_date", "observation_source_value"),
}
INFLUENZA = list(findings()["influenza"]["diagnosis"])
#: of influenza's test and drug, where a hospital has codes of its own
OWN_WORDS = [findings()["influenza"][what]["text"] for what in ("test", "drug")]
TEST, OSELTAMIVIR = findings()["influenza"]["test"]["concept"], findings()["influenza"]["drug"]["concept"]
PRESENT, ABSENT = 4181412, 4132135
COMMON_SYMPTOMS = [key for key, item in findings()["symptoms"].items() if item["by_cause"].get("influenza", 0) > 0.1]


@pytest.fixture(scope="module")
def network() -> dict[str, dict[str, pa.Table]]:
    """A network of 8,000 persons."""
    return {hospital: simulate(hospital, 8000, 1) for hospital in HOSPITALS}


@pytest.fixture(scope="module")
def with_habits() -> dict[str, dict[str, pa.Table]]:
    """The two hospitals of own habits, as many persons each as in a network of 8,000."""
    return {hospital: simulate(hospital, 8000, 1) for hospital in OF_OWN_HABITS}


@pytest.fixture(params=[*HOSPITALS, *OF_OWN_HABITS])
def extract(
    request: pytest.FixtureRequest,
    network: dict[str, dict[str, pa.Table]],
    with_habits: dict[str, dict[str, pa.Table]],
) -> dict[str, pd.DataFrame]:
    """One hospital's extract as data frames."""
    return frames((network | with_habits)[request.param])


def frames(extract: dict[str, pa.Table]) -> dict[str, pd.DataFrame]:
    return {table: rows.to_pandas(date_as_object=False) for table, rows in extract.items()}


def emergencies(extract: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The study's rows: an emergency visit, and whether influenza is coded one to seven days after it."""
    visits = extract["visit_occurrence"].query("visit_concept_id == 9203")
    conditions = extract["condition_occurrence"]
    coded = conditions[conditions["condition_concept_id"].isin(INFLUENZA)]
    pairs = visits.merge(coded, on="person_id", suffixes=("", "_coded"))
    days = (pairs["condition_start_date"] - pairs["visit_start_date"]).dt.days
    influenza = pairs.loc[days.between(1, 7), "visit_occurrence_id"]
    return visits.assign(influenza=visits["visit_occurrence_id"].isin(influenza))


def mean_code_overlap(seeds: range) -> float:
    """Jaccard index of the standard concepts that two hospitals use, over their pairs and seeds."""
    overlaps = []
    for seed in seeds:
        used = [
            {n.concept_id for n in draw_names(model()["naming"], np.random.default_rng([seed, i])).names}
            for i in range(3)
        ]
        standard = [{c for c in ids if 0 < c < 2_000_000_000} for ids in used]
        overlaps += [
            len(standard[a] & standard[b]) / len(standard[a] | standard[b]) for a, b in ((0, 1), (0, 2), (1, 2))
        ]
    return float(np.mean(overlaps))


def test_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for copy in ("one", "two"):
        write_extract("prairie", 1000, 3, tmp_path / copy)
        written = sorted((tmp_path / copy).iterdir())
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in written})
    assert digests[0] == digests[1]
    assert {f"{table}.parquet" for table in [*EVENTS, "person", "death", "concept", "cdm_source"]} <= digests[0].keys()


def test_each_hospital_and_seed_is_a_stream_of_its_own() -> None:
    first = simulate("prairie", 2000, 1)
    simulate("riverside", 2000, 1)
    assert simulate("prairie", 2000, 1)["measurement"].equals(first["measurement"])
    assert not simulate("prairie", 2000, 2)["measurement"].equals(first["measurement"])


def test_an_extract_is_a_full_cdm_for_other_tools(tmp_path: Path) -> None:
    """All columns of the CDM 5.4, a code for every concept; what is simulated stays as it is."""
    write_extract("prairie", 600, 1, tmp_path / "prairie")
    written = {file.stem: pq.read_table(file) for file in (tmp_path / "prairie").iterdir()}
    for name, table in simulate("prairie", 600, 1).items():
        same = written[name].select([column for column in table.column_names if column != "concept_code"])
        assert same.equals(table.select(same.column_names))
    assert {*MORE_TABLES, "device_exposure"} <= {*written}
    death, observation = written["death"], written["observation"]
    assert death["death_datetime"].cast(pa.date32()).equals(death["death_date"])
    assert {"value_as_number", "value_as_string", "observation_datetime"} <= {*observation.column_names}
    concepts = written["concept"].to_pandas()
    assert not (concepts["vocabulary_id"] + "/" + concepts["concept_code"]).duplicated().any()
    maps = written["concept_relationship"].to_pandas()
    assert set(maps["concept_id_1"]) == set(concepts.loc[concepts["standard_concept"] == "S", "concept_id"])
    born = written["person"].to_pandas()
    assert (born["birth_datetime"].dt.month == born["month_of_birth"]).all()


def test_names_do_not_depend_on_how_many_persons_there_are() -> None:
    few, many = (simulate("lakeshore", persons, 5)["concept"] for persons in (500, 2000))
    assert few.equals(many)


@pytest.mark.parametrize("hospital", HOSPITALS)
def test_the_demos_hospitals_are_as_they_always_were(hospital: str) -> None:
    digest, tables = hashlib.sha256(), simulate(hospital, 2000, 3)
    for name, table in sorted(tables.items()):
        digest.update(repr((name, table.schema.to_string(), table.to_pydict())).encode())
    assert digest.hexdigest() == DIGESTS[hospital]


def test_persons_are_shared_out_among_the_hospitals(network: dict[str, dict[str, pa.Table]]) -> None:
    persons = {hospital: extract["person"].num_rows for hospital, extract in network.items()}
    assert persons == {"riverside": 4160, "lakeshore": 3360, "prairie": 480}


@pytest.mark.parametrize(
    ("hospital", "persons", "seed", "message"),
    [("seaside", 1000, 1, "riverside"), ("prairie", 10, 1, "at least 100"), ("prairie", 1000, -1, "seed")],
)
def test_a_wrong_argument_is_a_message(hospital: str, persons: int, seed: int, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        simulate(hospital, persons, seed)


def test_keys_refer_to_rows_that_are_there(extract: dict[str, pd.DataFrame]) -> None:
    persons, visits = extract["person"]["person_id"], extract["visit_occurrence"]
    assert persons.is_unique
    assert visits["visit_occurrence_id"].is_unique
    assert visits["person_id"].isin(persons).all()
    assert extract["death"]["person_id"].isin(persons).all()
    known = set(extract["concept"]["concept_id"]) | {0}
    for table, (concept, _, _) in EVENTS.items():
        events = extract[table].merge(visits, on="visit_occurrence_id", how="left", suffixes=("", "_visit"))
        assert extract[table][f"{table}_id"].is_unique
        assert (events["person_id"] == events["person_id_visit"]).all(), table
        for column in events.columns.intersection([concept, "unit_concept_id", "value_as_concept_id"]):
            assert set(events[column].dropna()) <= known, column
        assert (events[concept].ne(0) | events[EVENTS[table][2]].ne("")).all()


def test_every_record_lies_in_the_observation_period(extract: dict[str, pd.DataFrame]) -> None:
    periods = extract["observation_period"].set_index("person_id")
    start, end = periods["observation_period_start_date"], periods["observation_period_end_date"]
    dated = {table: [date] for table, (_, date, _) in EVENTS.items()}
    dated["visit_occurrence"] = ["visit_start_date", "visit_end_date"]
    dated["drug_exposure"].append("drug_exposure_end_date")
    dated["death"] = ["death_date"]
    for table, columns in dated.items():
        person = extract[table]["person_id"]
        for column in columns:
            day = extract[table][column].to_numpy()
            assert (day >= start.loc[person].to_numpy()).all(), (table, column)
            assert (day <= end.loc[person].to_numpy()).all(), (table, column)


def test_an_emergency_visit_is_one_day_and_visits_are_apart(extract: dict[str, pd.DataFrame]) -> None:
    visits = emergencies(extract).sort_values(["person_id", "visit_start_date"])
    assert (visits["visit_start_date"] == visits["visit_end_date"]).all()
    assert visits.groupby("person_id")["visit_start_date"].diff().dropna().dt.days.min() >= 14
    assert 1.4 < len(visits) / len(extract["person"]) < 2.2
    assert visits["visit_start_date"].between("2019-09-01", "2024-08-31").all()


def test_influenza_has_the_stated_prevalence_and_a_season(extract: dict[str, pd.DataFrame]) -> None:
    visits = emergencies(extract)
    assert 0.06 < visits["influenza"].mean() < 0.16
    month = visits["visit_start_date"].dt.month
    assert visits.loc[month.isin([1, 2]), "influenza"].mean() > 4 * visits.loc[month.isin([6, 7]), "influenza"].mean()


def test_nothing_gives_influenza_away_before_it_is_coded(extract: dict[str, pd.DataFrame]) -> None:
    # the diagnosis, its test and its drug only ever come one to three days after the visit that they belong to
    visits = extract["visit_occurrence"].set_index("visit_occurrence_id")["visit_start_date"]
    found = 0
    for table, (concept, date, text) in EVENTS.items():
        telling = extract[table][concept].isin([*INFLUENZA, TEST, OSELTAMIVIR])
        records = extract[table][telling | extract[table][text].isin(OWN_WORDS)]
        days = (records[date] - records["visit_occurrence_id"].map(visits)).dt.days
        assert days.between(1, 3).all(), table
        found += len(records)
    assert found > 50


def test_other_diagnoses_too_come_after_the_visit(extract: dict[str, pd.DataFrame]) -> None:
    visits = extract["visit_occurrence"].set_index("visit_occurrence_id")["visit_start_date"]
    events = extract["condition_occurrence"]
    days = (events["condition_start_date"] - events["visit_occurrence_id"].map(visits)).dt.days

    def words(*sections: str) -> set[str]:
        items = [item for section in sections for item in findings()[section].values()]
        return {text for item in items for text in [*item["concepts"].values(), *item["local"]]}

    only_diagnosed = words("diagnoses") - words("symptoms", "conditions")
    when = days[events["condition_source_value"].isin(only_diagnosed)]
    assert len(when) > 500
    assert when.between(1, 3).all()


@pytest.mark.parametrize("hospital", ["riverside", "lakeshore"])
def test_the_diagnosis_of_influenza_is_noisy(hospital: str) -> None:
    habits, (_, rng, _) = model()["hospitals"][hospital], streams(hospital, 4)
    who = people(habits, round(20_000 * habits["persons"]), rng)
    truth, _ = deaths(emergency_visits(habits, who, rng), who, rng)
    true_cause = pd.DataFrame(
        {
            "person_id": truth.person + 1,
            "visit_start_date": truth.day.astype("datetime64[D]").astype("datetime64[s]"),
            "cause": np.array(causes())[truth.cause],
        }
    )
    visits = emergencies(frames(simulate(hospital, 20_000, 4))).merge(true_cause)
    assert len(visits) == len(true_cause)
    found = visits.groupby("cause")["influenza"].mean()
    assert found["influenza"] == pytest.approx(1 - habits["missed"], abs=0.03)
    assert 0.001 < found["viral_illness"] < 0.02
    assert found.drop(["influenza", "viral_illness", "cold", "bronchitis"]).eq(0).all()


def test_a_test_is_positive_exactly_with_the_diagnosis(extract: dict[str, pd.DataFrame]) -> None:
    conditions = extract["condition_occurrence"]
    diagnosed = conditions.loc[conditions["condition_concept_id"].isin(INFLUENZA), "visit_occurrence_id"]
    measured = extract["measurement"]
    own = measured["measurement_source_value"].isin(OWN_WORDS)
    tests = measured[measured["measurement_concept_id"].eq(TEST) | own]
    assert set(tests["value_as_concept_id"]) == {9191, 9189}
    assert (tests["visit_occurrence_id"].isin(diagnosed) == tests["value_as_concept_id"].eq(9191)).all()


def test_only_lakeshore_records_absence(network: dict[str, dict[str, pa.Table]]) -> None:
    absent = {h: frames(e)["observation"]["value_as_concept_id"].eq(ABSENT).sum() for h, e in network.items()}
    assert absent["riverside"] == absent["prairie"] == 0
    assert absent["lakeshore"] > 10_000


def test_temperature_is_in_celsius_at_riverside_and_fahrenheit_elsewhere(
    network: dict[str, dict[str, pa.Table]],
) -> None:
    for hospital, fahrenheit, low, high in (
        ("riverside", False, 36.8, 37.6),
        ("lakeshore", True, 98.2, 99.6),
        ("prairie", True, 98.2, 99.6),
    ):
        measurements = frames(network[hospital])["measurement"]
        assert not measurements["unit_concept_id"].eq(586323 if fahrenheit else 9289).any()
        measured = measurements[measurements["unit_concept_id"].eq(9289 if fahrenheit else 586323)]
        assert len(measured) > 300
        assert low < measured["value_as_number"].mean() < high
        assert measured["range_low"].notna().all() == (hospital == "riverside")


def test_markers_are_numbers_or_positive_and_negative(network: dict[str, dict[str, pa.Table]]) -> None:
    def numeric_share(hospital: str) -> float:
        measured = frames(network[hospital])["measurement"].query("measurement_concept_id != @TEST")
        both = measured["value_as_number"].notna() & measured["value_as_concept_id"].notna()
        neither = measured["value_as_number"].isna() & measured["value_as_concept_id"].isna()
        assert not both.any()
        assert not neither.any()
        return float(measured["value_as_number"].notna().mean())

    assert numeric_share("riverside") > numeric_share("lakeshore") + 0.03
    limits = {h: frames(e)["measurement"]["range_high"].notna().mean() for h, e in network.items()}
    assert limits["riverside"] > 0.9 > limits["prairie"] > limits["lakeshore"] == 0


def test_hospitals_share_a_minority_of_their_codes(network: dict[str, dict[str, pa.Table]]) -> None:
    assert 0.10 < mean_code_overlap(range(20)) < 0.35
    used = {}
    for hospital, extract in network.items():
        used[hospital] = {
            concept
            for table, (column, _, _) in EVENTS.items()
            for concept in extract[table][column].unique().to_pylist()
        }
        assert 0 in used[hospital]  # unmapped records
        assert any(concept >= 2_000_000_000 for concept in used[hospital])  # local ones
    standard = {hospital: {c for c in ids if 0 < c < 2_000_000_000} for hospital, ids in used.items()}
    for one, other in (("riverside", "lakeshore"), ("riverside", "prairie"), ("lakeshore", "prairie")):
        assert len(standard[one] & standard[other]) < 0.5 * len(standard[one] | standard[other])


def test_a_local_concept_is_a_different_thing_at_each_hospital(network: dict[str, dict[str, pa.Table]]) -> None:
    local = {
        h: frames(e)["concept"].query("concept_id >= 2_000_000_000").set_index("concept_id") for h, e in network.items()
    }
    one, other = local["riverside"], local["lakeshore"]
    shared = one.index.intersection(other.index)
    assert len(shared) > 5
    assert (one.loc[shared, "concept_name"] != other.loc[shared, "concept_name"]).mean() > 0.8
    assert set(one["vocabulary_id"]) == {"riverside local"}
    assert one["standard_concept"].isna().all()


def test_completeness_and_the_mix_of_ages_differ(network: dict[str, dict[str, pa.Table]]) -> None:
    visits, age = {}, {}
    for hospital, extract in network.items():
        tables = frames(extract)
        charted = len(tables["procedure_occurrence"]) + len(tables["measurement"])
        visits[hospital] = charted / len(emergencies(tables))
        age[hospital] = 2022 - tables["person"]["year_of_birth"].mean()
    assert visits["riverside"] > visits["prairie"]
    assert age["riverside"] < age["lakeshore"] < age["prairie"]


def test_a_name_does_not_depend_on_the_cause() -> None:
    # where a finding has two names, the second is as frequent in visits with influenza as in others
    naming = draw_names(model()["naming"], streams("riverside", 1)[0])
    tables = frames(simulate("riverside", 50_000, 1))
    visits = emergencies(tables).set_index("visit_occurrence_id")["influenza"]
    records = pd.concat(
        tables[table][["visit_occurrence_id", text]].set_axis(["visit", "text"], axis=1)
        for table, (_, _, text) in EVENTS.items()
    )
    influenza = records["visit"].map(visits)
    compared = 0
    for key in ("cough", "fever", "headache", "fatigue", "nausea", "sore_throat", "nasal_congestion", "muscle_pain"):
        names = [naming.names[position].text for position in naming.of_finding[f"symptoms/{key}"]]
        if len(set(names)) == 2:
            for with_influenza in (True, False):
                texts = records.loc[influenza.eq(with_influenza), "text"]
                second, first = texts.eq(names[1]).sum(), texts.eq(names[0]).sum()
                assert second / (first + second) == pytest.approx(0.25, abs=0.06), (key, with_influenza)
            compared += 1
    assert compared > 0


def test_ancestors_hold_each_concept_and_the_kinds_of_influenza(extract: dict[str, pd.DataFrame]) -> None:
    pairs = extract["concept_ancestor"]
    of = set(zip(pairs["ancestor_concept_id"], pairs["descendant_concept_id"], strict=True))
    assert {(4266367, concept) for concept in INFLUENZA} <= of
    itself = pairs[pairs["ancestor_concept_id"] == pairs["descendant_concept_id"]]
    assert (itself["min_levels_of_separation"] == 0).all()
    standard = extract["concept"].query("concept_id < 2_000_000_000")["concept_id"]
    assert set(itself["ancestor_concept_id"]) == set(standard)


def test_the_facts_agree_with_each_other() -> None:
    known = concepts()
    groups, wordings = set(model()["groups"]), []
    for section in SECTIONS:
        for key, item in findings()[section].items():
            for concept, name in item["concepts"].items():
                assert known.loc[concept, "concept_name"] == name, key
                assert known.loc[concept, "standard_concept"] == "S", key
            assert not set(item["local"]) & set(item["concepts"].values()), key
            assert len(set(item["local"])) >= 2, key
            wordings += item["local"]
            assert set(item.get("by_cause", {})) <= {"default", *causes()}, key
            assert set(item.get("by_group", item.get("ordered", {}))) <= {"default", *groups}, key
            assert set(item.get("value", {}).get("shift", {})) <= set(causes()), key
            assert set(item.get("raises", {})) <= set(causes()), key
            assert set(item.get("drugs", {})) <= set(findings()["drugs"]), key
    assert set(findings()["diagnoses"]) | {"influenza"} == set(causes())
    assert len(wordings) == len(set(wordings))
    for cause, facts in model()["causes"].items():
        assert sum(facts["groups"].values()) == pytest.approx(1), cause
        assert set(facts["groups"]) <= groups, cause
    hospitals = model()["hospitals"]
    assert sum(hospitals[hospital]["persons"] for hospital in HOSPITALS) == pytest.approx(1)
    assert set(hospitals) == {*HOSPITALS, *OF_OWN_HABITS} == set(STUDY_HOSPITALS)
    for habits in hospitals.values():
        assert sum(habits["age_shares"]) == sum(habits["race"].values()) == pytest.approx(1)


def codes_of(extract: dict[str, pa.Table]) -> set[int]:
    return {
        concept for table, (column, _, _) in EVENTS.items() for concept in extract[table][column].unique().to_pylist()
    }


def test_canyon_shares_no_code_but_the_outcome(
    network: dict[str, dict[str, pa.Table]], with_habits: dict[str, dict[str, pa.Table]]
) -> None:
    standard = {concept for concept in codes_of(with_habits["canyon"]) if 0 < concept < 2_000_000_000}
    assert standard == set(INFLUENZA)
    # highland has some of the others' codes, as they have of each other
    highland = codes_of(with_habits["highland"]) - {0, TEST, OSELTAMIVIR, *INFLUENZA}
    assert len(highland & codes_of(network["riverside"])) > 20


def test_habits_are_of_a_hospital_and_a_seed_alone_and_of_the_stated_size() -> None:
    def drawn(hospital: str, seed: int) -> np.ndarray:
        factors, habits = draw_habits(model()["hospitals"][hospital], streams(hospital, seed)[2])
        assert factors["influenza"] == model()["hospitals"][hospital]["causes"]["influenza"]
        return np.concatenate([*habits.given.values(), [*habits.charted.values()]])

    for hospital in OF_OWN_HABITS:
        assert drawn(hospital, 1).std() == pytest.approx(0.8, abs=0.05)
        assert np.array_equal(drawn(hospital, 1), drawn(hospital, 1))
    assert abs(np.corrcoef(drawn("highland", 1), drawn("highland", 2))[0, 1]) < 0.1
    assert abs(np.corrcoef(drawn("highland", 1), drawn("canyon", 1))[0, 1]) < 0.1
    assert not drawn("riverside", 1).any()


def test_the_same_finding_is_other_evidence_where_habits_differ() -> None:
    # log odds ratios of charted symptoms, with influenza against without
    def evidence(hospital: str) -> np.ndarray:
        naming, tables = naming_of(hospital, 1), frames(simulate(hospital, 40_000, 1))
        visits = emergencies(tables).set_index("visit_occurrence_id")["influenza"]
        records = pd.concat(
            tables[table][["visit_occurrence_id", text]].set_axis(["visit", "text"], axis=1)[
                tables[table].get("value_as_concept_id", pd.Series(PRESENT, tables[table].index)).ne(ABSENT)
            ]
            for table, (_, _, text) in EVENTS.items()
        )
        result = []
        for key in COMMON_SYMPTOMS:
            names = {naming.names[position].text for position in naming.of_finding[f"symptoms/{key}"]}
            there = visits.index.isin(records.loc[records["text"].isin(names), "visit"])
            share = [there[visits == influenza].mean() for influenza in (True, False)]
            result.append(np.subtract(*np.log(np.divide(share, np.subtract(1, share)))))
        return np.array(result)

    riverside = evidence("riverside")
    apart = {hospital: np.abs(evidence(hospital) - riverside).mean() for hospital in ("lakeshore", *OF_OWN_HABITS)}
    assert apart["highland"] > 2 * apart["lakeshore"]
    assert apart["canyon"] > 2 * apart["lakeshore"]


@pytest.mark.real_data
@pytest.mark.skipif(not CONCEPT_NAMES.exists(), reason=f"{CONCEPT_NAMES} is not there")
def test_every_concept_is_the_vocabularies_own() -> None:
    real = pq.read_table(CONCEPT_NAMES).to_pandas().set_index("concept_id")
    ours = concepts()
    assert set(ours.index) <= set(real.index)
    for column in ("concept_name", "domain_id", "vocabulary_id", "concept_class_id"):
        assert (ours[column] == real.loc[ours.index, column].fillna("")).all(), column


def test_twenty_thousand_persons_fill_every_table() -> None:
    extract = simulate("riverside", 20_000, 1)
    assert extract["person"].num_rows == 10_400
    assert extract["measurement"].num_rows > 100_000
    assert all(table.num_rows for table in extract.values())
    assert extract["measurement"].schema.field("measurement_date").type == pa.date32()
    assert extract["measurement"].schema.field("person_id").type == pa.int64()
