from .comparison import compare_directories as compare_directories
from .publishing import publish as publish, publish_again as publish_again
from .runs import write_index as write_index
from .sweep import REPORT as REPORT, closing_line as closing_line
