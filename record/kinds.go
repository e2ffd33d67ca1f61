package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"strings"
)

// kindFiles is one JSON Schema a kind: what a record's body holds. A kind is added by adding its file.
//
//go:embed kinds/*.json
var kindFiles embed.FS

// Kinds are the names of all kinds, sorted, for instance "admission-decision.v1".
func Kinds() []string {
	entries, _ := kindFiles.ReadDir("kinds") // it is in the binary
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// KindSchema is the JSON Schema of a kind's body, and whether there is such a kind.
func KindSchema(kind string) ([]byte, bool) {
	if !nameForm.MatchString(kind) {
		return nil, false
	}
	text, err := kindFiles.ReadFile("kinds/" + kind + ".json")
	return text, err == nil
}

// Reference stands for a person's name in a body: "hmac-sha256:" and the HMAC of the name. The key lies with the store, which
// alone says whom a reference means; when it forgets that, nobody can tell, and the ledger stays as it is. A plain hash
// would not do: names are few enough to try them all.
func Reference(key []byte, name string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("ringfence.dev/actor\n" + name))
	return "hmac-sha256:" + hex.EncodeToString(mac.Sum(nil))
}
