package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
)

const (
	// fetchTimeout bounds a call of Fetch whose context has no deadline of its own.
	fetchTimeout = 10 * time.Second
	// maxAnswer is 64 MiB: DefaultCapacity findings of at most about 6 KiB.
	maxAnswer = 64 << 20
)

// ErrRefused is returned by Fetch, with the reason, where the other side answered with an error.
var ErrRefused = errors.New("the control plane refused")

// Fetch asks the Handler at base, for instance http://ringfence with a client that dials its socket. Without a deadline
// in ctx it gives up after 10 s.
func Fetch(ctx context.Context, client *http.Client, base string, q Query) (Answer, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
	}
	answer, err := fetch(ctx, client, strings.TrimSuffix(base, "/")+"/findings?"+q.values().Encode())
	if err != nil {
		return Answer{}, fmt.Errorf("fetch findings: %w", err)
	}
	return answer, nil
}

// fetch makes the call.
func fetch(ctx context.Context, client *http.Client, url string) (answer Answer, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer, err
	}
	response, err := client.Do(request)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	body := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode != http.StatusOK {
		var p problem
		if err := body.Decode(&p); err != nil || p.Error == "" {
			p.Error = http.StatusText(response.StatusCode)
		}
		return answer, fmt.Errorf("%w: %s", ErrRefused, oneLine(p.Error))
	}
	if err := body.Decode(&answer); err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	if answer.SchemaVersion != finding.SchemaVersion {
		return Answer{}, fmt.Errorf("read the answer: found schemaVersion %q; want %s: is ringfence the same version on both sides?",
			finding.Value(answer.SchemaVersion), finding.SchemaVersion)
	}
	return answer, nil
}

// oneLine makes another process's words fit for a terminal: control characters replaced, at most 256 runes.
func oneLine(s string) string {
	runes := []rune(s)
	var b strings.Builder
	for _, r := range runes[:min(len(runes), 256)] {
		b.WriteString(finding.Value(string(r)))
	}
	return b.String()
}
