package finding

// Tagged is a line with the id of the request of which it tells at its end, and still one of at most 1,024 bytes: whoever was
// refused can name the request to those who read logs, traces and records. An empty id leaves the line as it is.
func Tagged(line, id string) string {
	if id == "" {
		return line
	}
	end := " [id " + Value(id) + "]"
	return cut(line, maxLineBytes-len(end)) + end
}
