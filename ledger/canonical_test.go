package ledger_test

import (
	"bytes"
	"testing"

	"ringfence.dev/ringfence/ledger"
)

// TestCanonical holds the encoding to the examples of RFC 8785 (3.2.2, 3.2.3, appendix B).
func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`: `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}`:                                                                                         "{\"\\r\":2,\"1\":4,\"\u0080\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\ufb33\":3}",
		`[-0, 1e21, 999999999999999900000, 1e-7, 5e-324, 9007199254740992, 295147905179352830000]`:                                                                            ``,
		`[-0.0, 1e21, 0.000001, 1e-7, 5e-324, 9007199254740992, 2.9514790517935283e20]`:                                                                                       `[0,1e+21,0.000001,1e-7,5e-324,9007199254740992,295147905179352830000]`,
		"{\"a\":\"\\b\\t\\n\\f\\r\\u001f<>&\u2028\"}":                                                                                                                         "{\"a\":\"\\b\\t\\n\\f\\r\\u001f<>&\u2028\"}",
		`{"a":1,"a":2}`:          ``,
		`{"a":9007199254740993}`: ``,
		"\"\xff\"":               ``,
		`1 2`:                    ``,
		`{"a":`:                  ``,
	} {
		got, err := ledger.Canonical([]byte(in))
		if want == "" && err == nil || want != "" && (err != nil || string(got) != want) {
			t.Errorf("Canonical(%s) = %s, %v\nwant %s", in, got, err, want)
		}
	}
}

// FuzzDecode throws bytes at the reader of entries: what it takes is what the writer writes.
func FuzzDecode(f *testing.F) {
	entry, err := ledger.Encode(sample("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entry)
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ledger.Decode(data)
		if err != nil {
			return
		}
		if again, err := ledger.Encode(r); err != nil || !bytes.Equal(again, data) {
			t.Errorf("Encode(Decode(%q)) = %q, %v", data, again, err)
		}
	})
}
