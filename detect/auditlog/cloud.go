package auditlog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// maxUnpacked bounds what all compressed parts of one batch may unpack to, 64 MiB; one part alone may be MaxBatch.
const maxUnpacked = 64 << 20

// ErrNotEnvelope is returned by DecodeEKS, DecodeAKS and DecodeGKE for bytes that are not in the form of that cloud.
var ErrNotEnvelope = errors.New("not in the form that this door takes")

// values calls each once a JSON value that r holds, one after another: one value, or one a line. Arrays are opened. At most
// MaxBatch bytes are read.
func values(r io.Reader, each func(json.RawMessage) error) error {
	limited := &limitedReader{r: r, left: MaxBatch}
	dec := json.NewDecoder(limited)
	for n := 0; ; n++ {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case limited.err != nil:
			return fmt.Errorf("read audit events: %w", limited.err)
		case err != nil:
			return fmt.Errorf("read audit events: %w: want JSON", ErrNotEnvelope)
		}
		all := []json.RawMessage{raw}
		if bytes.HasPrefix(raw, []byte("[")) {
			if err := json.Unmarshal(raw, &all); err != nil {
				return fmt.Errorf("read audit events: %w: want JSON", ErrNotEnvelope)
			}
		}
		for _, one := range all {
			if err := each(one); err != nil {
				return err
			}
		}
	}
}

// envelope is every form in which CloudWatch Logs hands events on.
type envelope struct {
	// Lambda's event of a subscription.
	AWSLogs struct {
		Data []byte `json:"data"`
	} `json:"awslogs"`
	// Lambda's event of a Kinesis stream with a subscription, and a Firehose's request: "Records" and "records" are the
	// same name to encoding/json.
	Records []struct {
		Kinesis struct {
			Data []byte `json:"data"`
		} `json:"kinesis"`
		Data []byte `json:"data"`
	} `json:"records"`
	// A subscription's payload.
	MessageType string     `json:"messageType"`
	LogStream   string     `json:"logStream"`
	LogEvents   []logEvent `json:"logEvents"`
	// What "aws logs filter-log-events" prints.
	Events []logEvent `json:"events"`
	// Kind is Event where a Firehose was told to extract messages: then it is the audit event itself.
	Kind string `json:"kind"`
}

// logEvent is one line of a log.
type logEvent struct {
	LogStream string `json:"logStreamName"`
	Message   string `json:"message"`
}

// DecodeEKS reads audit events of EKS as CloudWatch Logs hands them on: the payload of a subscription, packed or not; in
// the event of a Lambda or a Kinesis stream; in the request of a Firehose; and the output of "aws logs
// filter-log-events". Other logs of the control plane in the same group are passed over. It calls each as Decode does.
func DecodeEKS(r io.Reader, each func(Event, error)) error {
	u := &unpacker{left: maxUnpacked}
	limited := &limitedReader{r: r, left: MaxBatch}
	body, err := io.ReadAll(limited)
	if err != nil {
		return fmt.Errorf("read audit events: %w", err)
	}
	if isPacked(body) {
		if body, err = u.unpack(body); err != nil {
			return err
		}
		return u.payload(body, each)
	}
	return values(bytes.NewReader(body), func(raw json.RawMessage) error {
		var e envelope
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read audit events: %w: want an event of CloudWatch Logs", ErrNotEnvelope)
		}
		var parts [][]byte
		if len(e.AWSLogs.Data) > 0 {
			parts = append(parts, e.AWSLogs.Data)
		}
		for _, record := range e.Records {
			parts = append(parts, append(record.Kinesis.Data, record.Data...))
		}
		for _, part := range parts {
			if isPacked(part) {
				if part, err = u.unpack(part); err != nil {
					return err
				}
			}
			if err := u.payload(part, each); err != nil {
				return err
			}
		}
		if len(parts) > 0 {
			return nil
		}
		return e.deliver(raw, each)
	})
}

// isPacked reports whether bytes begin as gzip does.
func isPacked(b []byte) bool { return bytes.HasPrefix(b, []byte{0x1f, 0x8b}) }

// unpacker unpacks the parts of one batch.
type unpacker struct{ left int }

// unpack unpacks one part, within the bounds.
func (u *unpacker) unpack(part []byte) ([]byte, error) {
	zip, err := gzip.NewReader(bytes.NewReader(part))
	if err != nil {
		return nil, fmt.Errorf("read audit events: %w: want gzip", ErrNotEnvelope)
	}
	most := min(MaxBatch, u.left)
	out, err := io.ReadAll(io.LimitReader(zip, int64(most)+1))
	u.left -= len(out)
	switch {
	case len(out) > most:
		return nil, fmt.Errorf("unpack audit events: %w", ErrTooLarge)
	case err != nil:
		return nil, fmt.Errorf("read audit events: %w: the compressed part breaks off", ErrNotEnvelope)
	}
	return out, nil
}

// payload reads what a subscription sends: one object, or several one after another where a Firehose joined them.
func (u *unpacker) payload(part []byte, each func(Event, error)) error {
	return values(bytes.NewReader(part), func(raw json.RawMessage) error {
		var e envelope
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("read audit events: %w: want a payload of CloudWatch Logs", ErrNotEnvelope)
		}
		return e.deliver(raw, each)
	})
}

// auditStream begins the names of the log streams that hold audit events.
const auditStream = "kube-apiserver-audit"

// deliver hands on the events of a payload, which is raw.
func (e envelope) deliver(raw []byte, each func(Event, error)) error {
	switch {
	case e.Kind == "Event":
		each(decodeEvent(raw))
		return nil
	case e.MessageType == "CONTROL_MESSAGE": // CloudWatch asks whether somebody listens
		return nil
	case e.MessageType == "" && e.Events == nil, e.MessageType != "" && e.MessageType != "DATA_MESSAGE":
		return fmt.Errorf("read audit events: %w: want messageType DATA_MESSAGE, or events", ErrNotEnvelope)
	}
	for _, line := range append(e.LogEvents, e.Events...) {
		stream := e.LogStream + line.LogStream
		if stream != "" && !strings.HasPrefix(stream, auditStream) {
			continue
		}
		each(decodeEvent([]byte(line.Message)))
	}
	return nil
}

// DecodeAKS reads audit events of AKS as a diagnostic setting writes them, categories kube-audit and kube-audit-admin: to an
// Event Hub ({"records": [...]}, or a list of those), or to a storage account (a record a line). The two categories hold the
// same events: one is enough, and both count once. Other categories are passed over.
func DecodeAKS(r io.Reader, each func(Event, error)) error {
	type record struct {
		Category   string `json:"category"`
		Properties struct {
			Log string `json:"log"`
		} `json:"properties"`
	}
	return values(r, func(raw json.RawMessage) error {
		var body struct {
			Records *[]json.RawMessage `json:"records"`
			record
		}
		err := json.Unmarshal(raw, &body)
		if err != nil || body.Records == nil && body.Category == "" {
			return fmt.Errorf("read audit events: %w: want records with category and properties", ErrNotEnvelope)
		}
		all := []json.RawMessage{raw}
		if body.Records != nil {
			all = *body.Records
		}
		for _, one := range all {
			var r record
			if err := json.Unmarshal(one, &r); err != nil {
				each(Event{}, errors.New("decode a record: want category and properties.log"))
				continue
			}
			if c := strings.ToLower(r.Category); c == "kube-audit" || c == "kube-audit-admin" {
				each(decodeEvent([]byte(r.Properties.Log)))
			}
		}
		return nil
	})
}

// DecodeLines reads a file of audit events, one a line, as --audit-log-path writes it. A time before an event, as an export
// of CloudWatch to S3 has it, is passed over. It reads on after a line that is malformed.
func DecodeLines(r io.Reader, each func(Event, error)) error {
	limited := &limitedReader{r: r, left: MaxBatch}
	body, err := io.ReadAll(limited)
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			each(decodeLine(line))
		}
	}
	if err != nil {
		return fmt.Errorf("read audit events: %w", err)
	}
	return nil
}

// decodeLine decodes one line of a file.
func decodeLine(line []byte) (Event, error) {
	if at, rest, found := bytes.Cut(line, []byte(" ")); found {
		if _, err := time.Parse(time.RFC3339Nano, string(at)); err == nil {
			line = rest
		}
	}
	return decodeEvent(line)
}

// unbase64 decodes standard Base64.
func unbase64(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }
