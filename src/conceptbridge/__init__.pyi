from conceptbridge import simulate as simulate
from conceptbridge.api import Study as Study
from conceptbridge.bundle import Bundle as Bundle
from conceptbridge.bundle import load_bundle as load_bundle
from conceptbridge.core.errors import StudyError as StudyError
from conceptbridge.results import Results as Results
from conceptbridge.results import metrics as metrics
