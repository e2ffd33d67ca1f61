package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// TestNewcomers: of connections that say nothing the oldest is closed when there are too many, and one on which a request came
// is left alone.
func TestNewcomers(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	srv.Config.ConnState = newNewcomers(2).changed
	srv.StartTLS()
	defer srv.Close()
	ask := func() {
		t.Helper()
		got, err := srv.Client().Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		_, _ = io.Copy(io.Discard, got.Body)
	}
	ask()
	var silent []net.Conn
	for range 5 {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	for i, c := range silent {
		wait := 10 * time.Second
		if i >= 3 {
			wait = 50 * time.Millisecond
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		_, err := c.Read(make([]byte, 1))
		timeout, ok := err.(net.Error)
		if open := ok && timeout.Timeout(); open != (i >= 3) {
			t.Errorf("connection %d of 5, of which 2 may be silent: %v", i, err)
		}
	}
	ask() // on the connection of before
}

// TestNewcomersAtTheDoors: whoever reaches the address of the doors, and proves nothing, cannot hold as many connections as they like: of
// those that say nothing the oldest is closed, long before its time to speak is over.
func TestNewcomersAtTheDoors(t *testing.T) {
	s := withDoors(t, makeAuthority(t))
	defer startEvidence(t, s)()
	var oldest net.Conn
	for range maxNewcomers + 1 {
		c, err := net.Dial("tcp", s.DoorsAddress())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if oldest == nil {
			oldest = c
		}
	}
	_ = oldest.SetReadDeadline(time.Now().Add(2 * time.Second)) // silence ends after five
	if _, err := oldest.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("of %d silent connections the oldest is still there: %v", maxNewcomers+1, err)
	}
}
