// Package ocsf writes records in the Open Cybersecurity Schema Framework, version 1.8.0: a Detection Finding (2004) for
// what was refused, warned of or not watched, a Compliance Finding (2003) for what a check found, an API Activity (6003)
// for a change. It sends nothing; server gives its Format to the sinks.
//
// What the schema has no place for (cluster, producer, sequence, digest) stands in "unmapped", so that an event can be
// traced to its entry in the ledger. A kind that this version does not know becomes a Base Event with its body in there.
package ocsf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/record"
)

// Version is the version of the schema.
const Version = "1.8.0"

// Uids of the schema: class = category * 1000 + class in it, type = class * 100 + activity.
const (
	findings    = 2
	application = 6
	detection   = 2004
	compliance  = 2003
	activity    = 6003
)

// standard names the catalogue where the schema wants a standard: clauses of frameworks are not part of a record.
const standard = "Ringfence control catalogue"

// Format makes one message for each event of a record; find is the catalogue, for titles and severities, or nil.
func Format(find forward.Find) forward.Format {
	return func(r record.Record) ([]forward.Message, error) {
		events, err := forward.Events(r, find)
		if err != nil {
			return nil, err
		}
		var out []forward.Message
		for _, e := range events {
			data, err := json.Marshal(of(e))
			if err != nil {
				return nil, fmt.Errorf("write record %s as OCSF: %w", finding.Value(r.ID), err)
			}
			out = append(out, e.AsMessage(data))
		}
		return out, nil
	}
}

// object is a JSON object.
type object map[string]any

// of is the event of the schema.
func of(e forward.Event) object {
	o := object{
		"time":     e.Record.Time.UnixMilli(),
		"message":  e.Message,
		"metadata": metadata(e),
		"unmapped": unmapped(e),
	}
	o["severity_id"], o["severity"] = severity(e.Severity)
	switch e.Class {
	case forward.Detection:
		classify(o, findings, "Findings", detection, "Detection Finding", 1, "Create")
		o["finding_info"], o["resources"] = info(e), []object{resource(e)}
		o["is_alert"], o["status_id"], o["status"] = true, 1, "New"
		if e.User != "" || e.Verb != "" {
			o["evidences"] = []object{evidence(e)}
		}
		remediation(o, e)
	case forward.Compliance:
		classify(o, findings, "Findings", compliance, "Compliance Finding", 1, "Create")
		o["finding_info"], o["resources"] = info(e), []object{resource(e)}
		o["compliance"] = complianceOf(e)
		o["status_id"], o["status"] = 1, "New"
		remediation(o, e)
	case forward.Activity:
		id, name := verb(e.Verb)
		classify(o, application, "Application Activity", activity, "API Activity", id, name)
		o["actor"], o["api"], o["resources"] = actor(e), api(e), []object{resource(e)}
		o["src_endpoint"] = object{"name": e.Record.Cluster, "svc_name": e.Record.Producer}
		o["status_id"], o["status"] = 1, "Success"
		if e.Refused {
			o["status_id"], o["status"] = 2, "Failure"
		}
	default:
		classify(o, 0, "Uncategorized", 0, "Base Event", 99, e.Record.Kind)
		o["unmapped"].(object)["body"] = e.Record.Body
	}
	if o["message"] == "" {
		o["message"] = e.Title
	}
	return o
}

// classify fills what every event is classified by.
func classify(o object, category int, categoryName string, class int, className string, activity int, activityName string) {
	o["category_uid"], o["category_name"] = category, categoryName
	o["class_uid"], o["class_name"] = class, className
	o["activity_id"], o["activity_name"] = activity, activityName
	o["type_uid"], o["type_name"] = class*100+activity, className+": "+activityName
}

// metadata is about the event. Its uid is the message's identity: a receiver drops what it has seen.
func metadata(e forward.Event) object {
	return object{
		"version": Version, "uid": e.ID, "event_code": e.Record.Kind, "log_name": "ringfence", "log_provider": e.Record.Producer,
		"original_time": e.Record.Time.UTC().Format(time.RFC3339Nano), "sequence": e.Record.Seq,
		"product": object{"name": "Ringfence", "vendor_name": "Ringfence", "uid": "ringfence.dev"},
	}
}

// unmapped is what traces an event to the ledger.
func unmapped(e forward.Event) object {
	o := object{
		"record_id": e.Record.ID, "cluster": e.Record.Cluster, "producer": e.Record.Producer, "seq": e.Record.Seq,
		"kind": e.Record.Kind, "catalogue_digest": e.Record.CatalogueDigest,
	}
	if f := e.Finding; f.Control != "" || f.Outcome != "" {
		o["control"], o["outcome"], o["action"] = f.Control, string(f.Outcome), string(f.Action)
		o["found"], o["wanted"], o["path"], o["refused"] = f.Found, f.Wanted, f.Path, e.Refused
	}
	return o
}

// info is the finding. Its uid is the fingerprint, which is the same whenever the same thing is found again.
func info(e forward.Event) object {
	o := object{"uid": e.ID, "title": e.Title, "desc": e.Message, "created_time": e.Record.Time.UnixMilli()}
	if e.Message == "" {
		o["desc"] = e.Title
	}
	if f := e.Finding; f.Fingerprint != "" {
		o["uid"], o["uid_alt"] = f.Fingerprint, e.ID
	}
	if id := e.Finding.Control; id != "" {
		o["analytic"] = object{"uid": id, "name": cmp.Or(e.Finding.Rule, id), "type_id": 1, "type": "Rule"}
	}
	return o
}

// resource is what it is about.
func resource(e forward.Event) object {
	s := e.Finding.Subject
	o := object{"uid": e.Record.Cluster + "/" + s.String(), "type": s.Kind, "name": s.Name, "group": object{"name": e.Record.Cluster, "type": "cluster"}}
	if s.Kind == "" {
		o = object{"uid": e.Record.Cluster, "type": "Cluster", "name": e.Record.Cluster}
	}
	if s.Namespace != "" {
		o["namespace"] = s.Namespace
	}
	if s.APIVersion != "" {
		o["version"] = s.APIVersion
	}
	return o
}

// complianceOf is the outcome of a check.
func complianceOf(e forward.Event) object {
	o := object{"standards": []string{standard}, "status_id": 1, "status": "Pass"}
	f := e.Finding
	if f.Control != "" {
		o["control"] = f.Control
	}
	switch {
	case f.Outcome == finding.Fail && f.Waiver != nil:
		o["status_id"], o["status"], o["status_detail"] = 99, "Waived", "accepted until "+f.Waiver.Expires
	case f.Outcome == finding.Fail:
		o["status_id"], o["status"] = 3, "Fail"
	case f.Outcome == finding.NotApplicable:
		o["status_id"], o["status"] = 99, "NotApplicable"
	case f.Outcome == "" && f.Control == "":
		// A run without findings: everything passed, unless the run says otherwise.
		if e.Refused {
			o["status_id"], o["status"] = 3, "Fail"
		} else if e.Undecided {
			o["status_id"], o["status"] = 2, "Warning"
		}
	case f.Outcome != finding.Pass:
		o["status_id"], o["status"] = 2, "Warning" // no result: could not be decided
	}
	return o
}

// remediation says how to repair it.
func remediation(o object, e forward.Event) {
	if fix := e.Finding.Fix; fix != "" {
		o["remediation"] = object{"desc": fix}
	}
}

// evidence is the request.
func evidence(e forward.Event) object {
	o := object{"api": api(e)}
	if e.User != "" {
		o["actor"] = actor(e)
	}
	return o
}

// actor is who asked; where nobody is known, the process that told of it.
func actor(e forward.Event) object {
	if e.User == "" {
		return object{"app_name": e.Record.Producer}
	}
	return object{"user": object{"name": e.User}}
}

// api is the call.
func api(e forward.Event) object {
	operation := e.Verb
	if operation == "" {
		operation = "unknown"
	}
	return object{"operation": operation, "service": object{"name": "kubernetes"}, "version": e.Finding.Subject.APIVersion}
}

// verb is the activity of a verb.
func verb(verb string) (int, string) {
	switch verb {
	case "create":
		return 1, "Create"
	case "get", "list", "watch":
		return 2, "Read"
	case "update", "patch", "apply":
		return 3, "Update"
	case "delete", "deletecollection":
		return 4, "Delete"
	case "":
		return 0, "Unknown"
	default:
		return 99, verb
	}
}

// severity is the schema's number and word.
func severity(s finding.Severity) (int, string) {
	switch s {
	case finding.Critical:
		return 5, "Critical"
	case finding.High:
		return 4, "High"
	case finding.Medium:
		return 3, "Medium"
	case finding.Low:
		return 2, "Low"
	default:
		return 1, "Informational"
	}
}
