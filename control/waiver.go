package control

// WorkloadControllers are the users as whom Kubernetes' own controllers make the ReplicaSets, Jobs and pods of a workload, each
// with an ownerReference to it. No tenant can be one of them: what they say of an owner is true.
func WorkloadControllers() []string {
	const account = "system:serviceaccount:kube-system:"
	return []string{
		account + "deployment-controller", account + "replicaset-controller", account + "statefulset-controller",
		account + "daemon-set-controller", account + "job-controller", account + "cronjob-controller",
		account + "replication-controller", "system:kube-controller-manager",
	}
}
