// Package auditlog reads the audit events of a Kubernetes API server and makes Findings of what the native bundles
// refused or warned of. No webhook sees a native refusal: the audit log is the only witness.
//
// Events come by webhook, from a file, or as EKS, AKS and GKE hand them on. It stores nothing but how far it read a file,
// compiles no rule, and reads neither policies of others nor the bodies of requests. Of Platforms, Tenants, Guards and
// Ringfence's policies it remembers the latest spec, to say what a write changed. The control plane serves its Handler
// to the API server's audit webhook and hands it a sink.
package auditlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// MaxBatch is the largest batch read, 16 MiB: the API server sends at most 400 events at a time, and about 6 KiB of each
// where ten controls fail; with --audit-webhook-truncate-enabled it never sends more than 10 MiB.
const MaxBatch = 16 << 20

// ErrTooLarge is returned by Decode for a batch above MaxBatch. The events before that point were delivered.
var ErrTooLarge = errors.New("batch is larger than 16 MiB")

// ErrNotEventList is returned by Decode for bytes that are not one EventList of audit.k8s.io/v1.
var ErrNotEventList = errors.New("not an EventList of audit.k8s.io/v1")

// Event is the part of an audit.k8s.io/v1 Event that Findings and ChangeOf read. Other fields, the request's body among them, are
// never kept.
type Event struct {
	// AuditID is the request's id. A client may choose it with the header Audit-ID: it does not tell requests apart.
	AuditID string `json:"auditID"`
	// Stage is RequestReceived, ResponseStarted, ResponseComplete or Panic.
	Stage string `json:"stage"`
	// RequestURI is the path and query as the client sent them.
	RequestURI string `json:"requestURI"`
	// Verb is create, update, patch and so on.
	Verb string `json:"verb"`
	// User is who was authenticated; ImpersonatedUser whose name they asked in, nil for nobody's.
	User             User  `json:"user"`
	ImpersonatedUser *User `json:"impersonatedUser"`
	// ObjectRef is what the request was for; nil for paths that are no resources.
	ObjectRef *ObjectRef `json:"objectRef"`
	// ResponseStatus is the answer; nil before there is one.
	ResponseStatus *ResponseStatus `json:"responseStatus"`
	// RequestReceivedTimestamp and StageTimestamp are by the API server's clock, to the microsecond.
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
	StageTimestamp           time.Time `json:"stageTimestamp"`
	// Annotations are what admission and others wrote on the event.
	Annotations map[string]string `json:"annotations"`
	// Object is what the API server answered with: the object as it was stored. It is kept only where the object says what the
	// rules are (Platforms, Guards, policies of Ringfence), and never of anything else; nil where the event carries none.
	Object json.RawMessage `json:"responseObject,omitempty"`
}

// User is a name from authentication. It is the identity provider's or the client's text: any characters.
type User struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

// ObjectRef names an object by its resource. Name is empty where the client sent only a generateName.
type ObjectRef struct {
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	APIGroup    string `json:"apiGroup"`
	APIVersion  string `json:"apiVersion"`
}

// ResponseStatus is the answer to a request. A success has only a code.
type ResponseStatus struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	// Details name the object as the server knew it at the refusal, with a generated name where the client sent none.
	Details struct {
		Name string `json:"name"`
	} `json:"details"`
}

// Decode reads one EventList and calls each once an item, in order, with the event or with why it is malformed. It keeps
// one event in memory at a time. The error says why the list could not be read to its end, and is one of ErrTooLarge,
// ErrNotEventList or what r returned; events before that point have been delivered and count.
func Decode(r io.Reader, each func(Event, error)) error {
	limited := &limitedReader{r: r, left: MaxBatch}
	err := decodeList(json.NewDecoder(limited), each)
	switch {
	case err == nil, errors.Is(err, ErrNotEventList):
		return err
	case limited.err != nil:
		return fmt.Errorf("read audit batch: %w", limited.err)
	default:
		return fmt.Errorf("read audit batch: %w: %w", ErrNotEventList, err)
	}
}

// decodeList walks the list's keys. kind and apiVersion come before items, as API servers write them: nothing is
// delivered from a list of another kind.
func decodeList(dec *json.Decoder, each func(Event, error)) error {
	if err := expect(dec, '{'); err != nil {
		return err
	}
	header := map[string]string{"kind": "", "apiVersion": ""}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		switch key {
		case "kind", "apiVersion":
			var text string
			if err := dec.Decode(&text); err != nil {
				return err
			}
			header[key.(string)] = text
		case "items":
			if err := check(header); err != nil {
				return err
			}
			if err := decodeItems(dec, each); err != nil {
				return err
			}
		default:
			if err := dec.Decode(&value); err != nil {
				return err
			}
		}
	}
	if err := expect(dec, '}'); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("more follows the list"), err)
	}
	return check(header)
}

// check refuses a list of another kind.
func check(header map[string]string) error {
	if header["kind"] == "EventList" && header["apiVersion"] == "audit.k8s.io/v1" {
		return nil
	}
	return fmt.Errorf("%w: found kind %q, apiVersion %q before items; want the API server's --audit-webhook-version=audit.k8s.io/v1",
		ErrNotEventList, clean(header["kind"], maxName), clean(header["apiVersion"], maxName))
}

// decodeItems delivers the items of a list; null is no items.
func decodeItems(dec *json.Decoder, each func(Event, error)) error {
	token, err := dec.Token()
	if err != nil || token == nil {
		return err
	}
	if token != json.Delim('[') {
		return fmt.Errorf("found items that begin with %v; want a list", token)
	}
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		each(decodeEvent(raw))
	}
	return expect(dec, ']')
}

// decodeEvent decodes one item and refuses what cannot be an event.
func decodeEvent(raw []byte) (Event, error) {
	var e Event
	if !bytes.HasPrefix(raw, []byte("{")) {
		return e, errors.New("decode audit event: want an object")
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return Event{}, fmt.Errorf("decode audit event: %w", err)
	}
	if e.AuditID == "" || e.Stage == "" || e.StageTimestamp.IsZero() {
		return Event{}, errors.New("decode audit event: want auditID, stage and stageTimestamp")
	}
	if e.RequestReceivedTimestamp.IsZero() {
		e.RequestReceivedTimestamp = e.StageTimestamp
	}
	if _, ok := ChangeOf(e); !ok {
		e.Object = nil
	}
	return e, nil
}

// expect reads one delimiter.
func expect(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err == nil && token != want {
		return fmt.Errorf("found %v; want %v", token, want)
	}
	return err
}

// limitedReader returns ErrTooLarge where another byte follows its limit, and remembers any error but the end.
type limitedReader struct {
	r    io.Reader
	left int
	err  error
}

// Read implements io.Reader.
func (l *limitedReader) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if n > l.left {
		n, err = l.left, ErrTooLarge
	}
	l.left -= n
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
	}
	return n, err
}
