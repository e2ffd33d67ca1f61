package admission_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/internal/casefile"
)

// TestRoomIsForWhatCame: clients that say that they will send much, and send nothing, take no room from those who do send.
func TestRoomIsForWhatCame(t *testing.T) {
	d := open(t, guards{spec: casefile.Guard()}, 0)
	for range 300 { // of 1 MiB each, if they were believed: more than all the room
		conn, err := tls.Dial("tcp", d.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", admission.Path, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond) // until they are read
	large := podReview(func(r fields) {
		r["object"].(fields)["metadata"].(fields)["annotations"] = fields{"a": strings.Repeat("x", 2<<20)}
	})
	if _, text, r := d.post(t, "", large); r == nil || r.Result.Code != 403 {
		t.Errorf("a request beside them: %.300s", text)
	}
}
