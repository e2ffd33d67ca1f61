package cluster

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Packer makes objects small, for those who hold many. It is for one goroutine at a time; the zero value is ready.
type Packer struct {
	out *flate.Writer // nil before the first
}

// Pack is an object without its version, and of a Pod's status whether it has conditions, which is all that a rule asks: what only
// a controller's own writing changes gives the same. The sum is the same for the same. It changes value.
func (p *Packer) Pack(value map[string]any) (packed []byte, sum [16]byte, err error) {
	if meta, ok := value["metadata"].(map[string]any); ok {
		delete(meta, "resourceVersion")
		delete(meta, "generation")
	}
	if status, ok := value["status"].(map[string]any); ok && status["conditions"] != nil {
		status["conditions"] = []any{}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, sum, fmt.Errorf("pack an object: %w", err)
	}
	whole := sha256.Sum256(text)
	var out bytes.Buffer
	if p.out == nil {
		if p.out, err = flate.NewWriter(&out, flate.BestSpeed); err != nil {
			return nil, sum, fmt.Errorf("pack an object: %w", err)
		}
	}
	p.out.Reset(&out)
	if _, err = p.out.Write(text); err == nil {
		err = p.out.Close()
	}
	return bytes.Clone(out.Bytes()), [16]byte(whole[:16]), err
}

// Unpack is the object that was packed.
func Unpack(packed []byte) (value map[string]any, err error) {
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), 2*maxObject))
	if err == nil {
		err = utiljson.Unmarshal(text, &value)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack an object: %w", err)
	}
	return value, nil
}
