package cli

import (
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/jsonfile"
	"ringfence.dev/ringfence/forward/ocsf"
	"ringfence.dev/ringfence/forward/sentinel"
	"ringfence.dev/ringfence/forward/splunk"
	"ringfence.dev/ringfence/forward/syslog"
	"ringfence.dev/ringfence/forward/webhook"
)

// SinkTypes are the sinks and formats that a configuration of forward may name; forward.Load takes them.
// find is the catalogue.
func SinkTypes(find forward.Find) forward.Types {
	return forward.Types{
		Sinks: map[string]forward.Type{
			"sentinel": {Format: "ocsf", Open: sentinel.Open},
			"splunk":   {Format: "ocsf", Open: splunk.Open},
			"syslog":   {Format: "cef", Open: syslog.Open},
			"webhook":  {Format: "ocsf", Open: webhook.Open},
			"file":     {Format: "ocsf", Open: jsonfile.Open},
		},
		Formats: map[string]forward.Format{"ocsf": ocsf.Format(find), "cef": syslog.CEF(find), "record": forward.Whole},
	}
}
