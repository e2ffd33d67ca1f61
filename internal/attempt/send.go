package attempt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// deadline is for one request; the API server ends a watch by itself, after the time that the request asks for.
	deadline = 30 * time.Second
	// patience is how long a step with Soon is tried: far longer than anything takes on an idle machine.
	patience = 2 * time.Minute
	// maxAnswer is how much of an answer is read: lists of a test's cluster are far smaller.
	maxAnswer = 4 << 20
)

// Sender makes requests as one person.
type Sender struct {
	Host   string // scheme, host and port
	Client *http.Client
}

// Row is a step that was made.
type Row struct {
	File string
	Step
	Got string
	// Fault is nil where the answer is as wanted.
	Fault error
}

// Make makes sequences, so many at a time, each in order and to its end, and gives a row for each step in the order of the files.
// who has a Sender for every name that sends.
func Make(ctx context.Context, all []Sequence, who map[string]Sender, atOnce int) []Row {
	rows := make([][]Row, len(all))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, s := range all {
		group.Go(func() error {
			for _, step := range s.Steps {
				row := Row{File: s.File, Step: step}
				row.Got, row.Fault = step.make(ctx, who[step.As])
				rows[i] = append(rows[i], row)
			}
			return nil
		})
	}
	_ = group.Wait() // no sequence gives an error: its rows do
	return slices.Concat(rows...)
}

func (s Step) make(ctx context.Context, by Sender) (got string, fault error) {
	until := time.Now().Add(patience)
	for {
		answer, err := s.send(ctx, by)
		if err != nil {
			return "", fmt.Errorf("%s as %s: %w", s.Send, s.As, err)
		}
		fault = s.Check(answer)
		if fault == nil || !s.Soon || time.Now().After(until) {
			return answer.Outcome(), fault
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s Step) send(ctx context.Context, by Sender) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var body io.Reader
	if s.Body != nil {
		text, err := json.Marshal(s.Body)
		if err != nil {
			return Answer{}, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, s.Method(), strings.TrimSuffix(by.Host, "/")+s.Path(), body)
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("Content-Type", s.ContentType())
	request.Header.Set("Accept", "application/json")
	if s.Accept != "" {
		request.Header.Set("Accept", s.Accept)
	}
	for k, v := range s.Headers {
		request.Header.Set(k, v)
	}
	response, err := by.Client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return Answer{Status: response.StatusCode, Warnings: response.Header.Values("Warning"), Body: string(text)}, nil
}

// Tally counts rows by what they came to.
func Tally(rows []Row) string {
	counts := map[string]int{}
	for _, r := range rows {
		counts[r.Got]++
	}
	var words []string
	for got, n := range counts {
		words = append(words, fmt.Sprintf("%s %d", got, n))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}
