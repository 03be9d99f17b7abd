"""Signals between our own components, on Scrapy's dispatcher."""

from __future__ import annotations

#: Arguments: saver, reason.  Sent by a pipeline whose saver raised `Unavailable`; until
#: `output_up` for the same saver the scheduler leases nothing.
output_down = object()

#: Argument: saver.
output_up = object()

#: No arguments.  Sent when the worker begins to stop: pipelines that hold pages for an
#: output that is down let them go as `Released`.
stopping = object()
#: `leases_taken(leases)`: the scheduler has them; throttled ones start a little later.
leases_taken = object()
#: `leases_settled(outcomes, accepted)`: the tracker has booked those that it accepted.
leases_settled = object()
#: `tracker_called(call, seconds)`: how long `lease` or `settle` took.
tracker_called = object()
