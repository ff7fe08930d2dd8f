"""Send to Amazon CloudWatch Logs, and make the log group useful (queries, metrics, alarms)."""

from dispatch.sinks.cloudwatch.limits import MAX_MESSAGE, OVERHEAD, LogEvent
from dispatch.sinks.cloudwatch.sink import CloudWatchSink, make
from dispatch.sinks.cloudwatch.streams import DEFAULT_STREAM

__all__ = ["DEFAULT_STREAM", "MAX_MESSAGE", "OVERHEAD", "CloudWatchSink", "LogEvent", "make"]
