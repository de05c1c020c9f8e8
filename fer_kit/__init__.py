"""fer_kit: from the FER2013 competition files to a submission that was understood before it was sent."""

__version__ = "0.1.0"
