"""Tell from a file's name which CDM table it may hold: a table in an unusual form must never be passed over.

Every plan of a run asks this, so nothing heavy is imported at the top.
"""

import re

from conceptbridge.sites.cdm import TABLES

#: OMOP tables, and files that come with them, whose names have a table's name in them and that no study reads
_OTHERS_LISTED = """
    care_site cohort cohort_attribute cohort_definition concept_class concept_cpt4 concept_hierarchy
    concept_recommended concept_relationship concept_set concept_sets concept_synonym condition_era cost
    death_cause domain dose_era drug_era drug_strength episode episode_event fact_relationship image_feature
    image_occurrence location location_history metadata note note_nlp payer_plan_period person_id_map
    person_id_mapping procedure_cost provider relationship source_to_concept_map source_to_standard specimen
    survey_conduct visit_cost visit_detail vocabulary
"""
_OTHERS = frozenset(_OTHERS_LISTED.split())
#: ends of names of files that hold no data: text about it, programs, checksums, backups
_NO_DATA_LISTED = """
    bak bat cfg crc css ctl ddl doc docx gif htm html ini ipynb jar jpeg jpg js json5 lock log md md5 old orig pdf
    png ppt pptx ps1 py r rmd rst rtf sh sha1 sha256 sql svg swp tmp toml xml yaml yml
"""
_NO_DATA = frozenset(_NO_DATA_LISTED.split())
#: words of names of files about a table
_ABOUT_LISTED = """
    changelog codebook count counts ddl dictionary doc docs documentation errors license log lookup manifest map
    mapping metadata notes overview quality queries query readme report schema stats summary
"""
_ABOUT = frozenset(_ABOUT_LISTED.split())


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name)


def _spellings(name: str) -> list[list[str]]:
    """The words of a name: drug exposure, drugexposure, drug exposures."""
    words = _words(name)
    return [words, [*words[:-1], f"{words[-1]}s"], ["".join(words)]]


#: words -> the name; the longest come first
_NAMES = sorted(
    ((words, name) for name in {*TABLES, *_OTHERS} for words in _spellings(name)),
    key=lambda known: (-len("".join(known[0])), known[1]),
)


def table_named_by(name: str) -> str | None:
    """The CDM table that a file of this name (without folders) seems to hold; None for a file that holds another thing.

    ``measurement.csv.bz2``, ``measurement (1).csv``, ``dbo.measurement.csv`` and ``2b_concept.csv`` do;
    ``concept_class.csv``, ``person.sql`` and ``person_mapping.csv`` do not.
    """
    name = name.lower()
    if name.startswith((".", "~", "_")) or name.endswith("~") or name.rsplit(".", 1)[-1] in _NO_DATA:
        return None
    words = _words(name)
    if _ABOUT & set(words):
        return None
    for wanted, known in _NAMES:
        if any(words[n : n + len(wanted)] == wanted for n in range(len(words))):
            return known if known in TABLES else None
    return None
