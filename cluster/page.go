package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// maxObject is 16 MiB: etcd holds 1.5 MiB of an object, and JSON may take some times more.
const maxObject = 16 << 20

var (
	// errBroken means that a page ended before its end: it may be asked for again.
	errBroken = errors.New("the answer broke off")
	errLarge  = fmt.Errorf("an object is larger than %d MiB; the rest was not read", maxObject>>20)
)

// tableOfMetadata asks for what kubectl prints of objects, with their metadata: of a Secret all but what is in it.
const tableOfMetadata = "application/json;as=Table;v=v1;g=meta.k8s.io"

// hidden reports whether only metadata and type of the objects are asked for.
func (r Resource) hidden() bool { return r.APIGroup == "" && r.Kind.Kind == "Secret" }

// bounded reads at most maxObject from one grant to the next.
type bounded struct {
	from io.Reader
	used int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.used > maxObject {
		return 0, errLarge
	}
	n, err := b.from.Read(p)
	b.used += n
	return n, err
}

// page is one page of a list, which is decoded as it comes: one object is in memory at a time.
type page struct {
	in     *bounded
	hidden bool
	each   func(map[string]any) bool
	next   string
	// version is that of the list.
	version string

	decoder *json.Decoder
	typed   int // the column of a table that holds the type, -1 for none
}

// read reads the page. An answer that breaks off is errBroken.
func (p *page) read() error {
	p.decoder, p.typed = json.NewDecoder(p.in), -1
	err := p.list()
	syntax := (*json.SyntaxError)(nil)
	switch {
	case err == nil || errors.Is(err, errLarge) || errors.Is(err, errEnough):
		return err
	case errors.As(err, &syntax):
		return fmt.Errorf("the answer is not JSON: %s", short(err.Error()))
	case errors.Is(err, errShape):
		return err
	default:
		return fmt.Errorf("%w: %s", errBroken, short(err.Error()))
	}
}

var (
	errShape  = errors.New("the answer is no list of objects")
	errEnough = errors.New("nobody wants more")
)

func (p *page) list() error {
	if err := p.delimiter('{'); err != nil {
		return err
	}
	for p.decoder.More() {
		p.in.used = 0
		key, err := p.decoder.Token()
		if err != nil {
			return err
		}
		if err := p.field(key); err != nil {
			return err
		}
	}
	_, err := p.decoder.Token()
	return err
}

func (p *page) field(key json.Token) error {
	switch key {
	case "metadata":
		var meta struct {
			Continue        string `json:"continue"`
			ResourceVersion string `json:"resourceVersion"`
		}
		err := p.decoder.Decode(&meta)
		p.next, p.version = meta.Continue, meta.ResourceVersion
		return err
	case "columnDefinitions":
		var columns []struct {
			Name string `json:"name"`
		}
		err := p.decoder.Decode(&columns)
		for i, c := range columns {
			if c.Name == "Type" {
				p.typed = i
			}
		}
		return err
	case "items":
		if p.hidden { // a server that does not know tables: what it sends was not asked for
			return errShape
		}
		return p.objects(p.object)
	case "rows":
		return p.objects(p.row)
	default:
		var passed json.RawMessage
		return p.decoder.Decode(&passed)
	}
}

// objects reads a list of objects, which may be null.
func (p *page) objects(object func(json.RawMessage) (map[string]any, error)) error {
	start, err := p.decoder.Token()
	if err != nil || start == nil {
		return err
	}
	if start != json.Delim('[') {
		return errShape
	}
	var text json.RawMessage
	for p.decoder.More() {
		p.in.used = 0
		if err := p.decoder.Decode(&text); err != nil {
			return err
		}
		value, err := object(text)
		if err != nil {
			return err
		}
		if !p.each(value) {
			return errEnough
		}
	}
	_, err = p.decoder.Token()
	return err
}

// object decodes one item as the API server does: whole numbers are int64.
func (p *page) object(text json.RawMessage) (map[string]any, error) {
	var value map[string]any
	if err := utiljson.Unmarshal(text, &value); err != nil || value == nil {
		return nil, errShape
	}
	return value, nil
}

// row makes an object of the row of a table: its metadata and its type.
func (p *page) row(text json.RawMessage) (map[string]any, error) {
	var row struct {
		Cells  []any          `json:"cells"`
		Object map[string]any `json:"object"`
	}
	if err := utiljson.Unmarshal(text, &row); err != nil || p.typed < 0 || p.typed >= len(row.Cells) {
		return nil, errShape
	}
	meta, ok := row.Object["metadata"].(map[string]any)
	if !ok {
		return nil, errShape
	}
	return map[string]any{"metadata": meta, "type": row.Cells[p.typed]}, nil
}

func (p *page) delimiter(want json.Delim) error {
	got, err := p.decoder.Token()
	if err == nil && got != want {
		err = errShape
	}
	return err
}

// trim takes away what no rule reads: who wrote which field, what kubectl apply repeats, and the status. A Pod keeps the
// conditions of its status, which tell a Pod that the scheduler has seen, its phase, and which images nodes run; a Waiver its approval.
func trim(value map[string]any) {
	if meta, ok := value["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
		if notes, ok := meta["annotations"].(map[string]any); ok {
			delete(notes, "kubectl.kubernetes.io/last-applied-configuration")
			if len(notes) == 0 {
				delete(meta, "annotations")
			}
		}
	}
	status, _ := value["status"].(map[string]any)
	delete(value, "status")
	if len(status) > 0 && value["kind"] == "Pod" && value["apiVersion"] == "v1" {
		value["status"] = trimPod(status)
	}
	apiVersion, _ := value["apiVersion"].(string)
	if approval, ok := status["approval"]; ok && value["kind"] == "Waiver" && strings.HasPrefix(apiVersion, "ringfence.dev/") {
		value["status"] = map[string]any{"approval": approval}
	}
}

// trimPod is what is kept of a Pod's status.
func trimPod(status map[string]any) map[string]any {
	kept := map[string]any{}
	for _, name := range []string{"conditions", "phase"} {
		if v, ok := status[name]; ok {
			kept[name] = v
		}
	}
	for _, name := range []string{"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"} {
		containers, _ := status[name].([]any)
		var images []any
		for _, c := range containers {
			if c, ok := c.(map[string]any); ok {
				images = append(images, map[string]any{"name": c["name"], "imageID": c["imageID"]})
			}
		}
		if images != nil {
			kept[name] = images
		}
	}
	return kept
}
