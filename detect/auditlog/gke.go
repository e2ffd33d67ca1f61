package auditlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// entry is a LogEntry of Cloud Logging with an AuditLog in it.
type entry struct {
	InsertID  string            `json:"insertId"`
	Timestamp time.Time         `json:"timestamp"`
	Labels    map[string]string `json:"labels"`
	Operation struct {
		ID   string `json:"id"`
		Last *bool  `json:"last"`
	} `json:"operation"`
	Payload *payload `json:"protoPayload"`
}

// payload is what an AuditLog says of a request.
type payload struct {
	Service        string `json:"serviceName"`
	Method         string `json:"methodName"`
	Resource       string `json:"resourceName"`
	Authentication struct {
		Principal string `json:"principalEmail"`
	} `json:"authenticationInfo"`
	Status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"status"`
	Response struct {
		Kind string `json:"kind"`
		ResponseStatus
	} `json:"response"`
}

// DecodeGKE reads audit events of GKE as Cloud Logging has them: LogEntry objects, one after another or in a list, under
// "entries", or one in the request of a Pub/Sub push subscription. Other services' entries are passed over.
//
// A LogEntry is no audit.k8s.io Event. Verb, object, user, code and message are read out of other fields. What the API
// server annotated stands in labels where GKE passes it on; Google does not document that it does for
// validation.policy.admission.k8s.io/validation_failure. Where it is missing, a refused request shows the one control that
// the refusal names, and a request that was only warned of shows nothing. GKE says neither whether a request was a dry run
// nor in whose name it was made.
func DecodeGKE(r io.Reader, each func(Event, error)) error {
	return values(r, func(raw json.RawMessage) error {
		var body struct {
			Message *struct {
				Data string `json:"data"`
			} `json:"message"`
			Entries      []json.RawMessage `json:"entries"`
			ProtoPayload json.RawMessage   `json:"protoPayload"`
			InsertID     string            `json:"insertId"`
		}
		if err := json.Unmarshal(raw, &body); err != nil {
			return fmt.Errorf("read audit events: %w: want an entry of Cloud Logging", ErrNotEnvelope)
		}
		all := body.Entries
		switch {
		case body.Message != nil:
			data, err := unbase64(body.Message.Data)
			if err != nil {
				return fmt.Errorf("read audit events: %w: want message.data in Base64", ErrNotEnvelope)
			}
			all = []json.RawMessage{data}
		case body.InsertID != "" || len(body.ProtoPayload) > 0:
			all = []json.RawMessage{raw}
		case body.Entries == nil:
			return fmt.Errorf("read audit events: %w: want an entry of Cloud Logging", ErrNotEnvelope)
		}
		for _, one := range all {
			var e entry
			if err := json.Unmarshal(one, &e); err != nil {
				each(Event{}, errors.New("decode an entry of Cloud Logging: want an AuditLog in protoPayload"))
				continue
			}
			if e.Payload != nil && e.Payload.Service == "k8s.io" {
				each(e.event())
			}
		}
		return nil
	})
}

// event makes an Event of an entry.
func (e entry) event() (Event, error) {
	p := e.Payload
	out := Event{
		AuditID: e.Operation.ID, Stage: "ResponseComplete", User: User{Username: p.Authentication.Principal}, ObjectRef: objectOf(p.Resource),
		Verb: p.Method[strings.LastIndex(p.Method, ".")+1:], RequestReceivedTimestamp: e.Timestamp, StageTimestamp: e.Timestamp, Annotations: e.Labels,
	}
	if out.AuditID == "" {
		out.AuditID = e.InsertID
	}
	if out.AuditID == "" || e.Timestamp.IsZero() {
		return Event{}, errors.New("decode an entry of Cloud Logging: want insertId or operation.id, and timestamp")
	}
	if e.Operation.Last != nil && !*e.Operation.Last {
		out.Stage = "ResponseStarted"
	}
	status := ResponseStatus{Code: httpCode(p.Status.Code), Message: p.Status.Message}
	if p.Response.Kind == "Status" && p.Response.Code != 0 {
		status = p.Response.ResponseStatus
		if status.Message == "" {
			status.Message = p.Status.Message
		}
	}
	if status.Code == 200 && out.Verb == "create" {
		status.Code = 201
	}
	out.ResponseStatus = &status
	return out, nil
}

// objectOf reads group/version/namespaces/NAMESPACE/resource/name/subresource; the group of the oldest kinds is "core".
func objectOf(resource string) *ObjectRef {
	parts := strings.Split(resource, "/")
	if len(parts) < 3 {
		return nil
	}
	ref := &ObjectRef{APIGroup: parts[0], APIVersion: parts[1]}
	if ref.APIGroup == "core" {
		ref.APIGroup = ""
	}
	parts = parts[2:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		ref.Namespace = parts[1]
		parts = parts[2:]
	}
	ref.Resource = parts[0]
	if len(parts) > 1 {
		ref.Name = parts[1]
	}
	if len(parts) > 2 {
		ref.Subresource = strings.Join(parts[2:], "/")
	}
	if ref.Resource == "namespaces" {
		ref.Namespace = ref.Name
	}
	return ref
}

// httpCode is the status that google.rpc.Code documents for a code.
func httpCode(code int) int {
	switch code {
	case 0:
		return 200
	case 1:
		return 499
	case 3, 9, 11:
		return 400
	case 4:
		return 504
	case 5:
		return 404
	case 6, 10:
		return 409
	case 7:
		return 403
	case 8:
		return 429
	case 12:
		return 501
	case 14:
		return 503
	case 16:
		return 401
	default:
		return 500
	}
}
