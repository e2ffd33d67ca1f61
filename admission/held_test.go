package admission

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHeldUntilJudged: the room of a review is its own until nothing holds it any more, not until its sender was answered: else whoever asks for
// answers at once would have as many of the largest judged beside each other as there are turns.
func TestHeldUntilJudged(t *testing.T) {
	const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","kind":{"version":"v1","kind":"Pod"},
		"resource":{"version":"v1","resource":"pods"},"object":{"apiVersion":"v1","kind":"Pod"}}}`
	judged, end := make(chan struct{}), make(chan struct{})
	h := &Handler{cfg: Config{Metrics: NewMetrics(), Log: slog.New(slog.DiscardHandler)}, turns: make(chan struct{}, 1), decide: func(context.Context, *request) *answer {
		close(judged)
		<-end
		return &answer{}
	}}
	post := func() {
		r := httptest.NewRequest(http.MethodPost, Path+"?timeout=10ms", strings.NewReader(review))
		r.Header.Set("Content-Type", "application/json")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	answered := make(chan struct{})
	go func() { defer close(answered); post() }()
	<-judged
	<-answered
	post() // finds no turn, and holds nothing afterwards
	if held := h.bytes.Load(); held != int64(len(review)) {
		t.Errorf("%d bytes are held after the answers, while a review of %d is judged", held, len(review))
	}
	close(end)
	for range 100 {
		if h.bytes.Load() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d bytes are held after the end", h.bytes.Load())
}
