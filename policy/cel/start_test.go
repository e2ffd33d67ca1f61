package cel_test
import ("testing";"ringfence.dev/ringfence/policy/cel";"ringfence.dev/ringfence/control";"ringfence.dev/ringfence/controls")
func BenchmarkCompile(b *testing.B){ c:=fullCatalogue(b); for b.Loop(){ if _,err:=cel.Compile(c);err!=nil{b.Fatal(err)}}}
func BenchmarkLoad(b *testing.B){ for b.Loop(){ if _,err:=control.Load(controls.FS);err!=nil{b.Fatal(err)}}}
