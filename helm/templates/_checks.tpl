{{- /* What the schema cannot see: values that contradict each other, and values that would be without effect. */}}
{{- define "strimzi-backup.checks" -}}
{{- $values := .Values }}
{{- if and (gt (int $values.replicaCount) 1) (not $values.leaderElection.enabled) }}
{{- fail (printf "replicaCount is %d, but leaderElection.enabled is false: the operators would all work on the same resources. Set leaderElection.enabled=true or replicaCount=1" (int $values.replicaCount)) }}
{{- end }}
{{- if and $values.metrics.enabled (regexMatch "^[0-9]" (include "strimzi-backup.fullname" .)) }}
{{- fail (printf "the release's name begins with a digit, and so would the name of the Service %s-metrics, which Kubernetes refuses. Choose a name in fullnameOverride that begins with a letter, or set metrics.enabled=false" (include "strimzi-backup.fullname" .)) }}
{{- end }}
{{- if and $values.metrics.serviceMonitor.enabled (not $values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor.enabled is true, but metrics.enabled is false: there is nothing to scrape. Set metrics.enabled=true or leave the ServiceMonitor out" }}
{{- end }}
{{- with $values.serviceAccount }}
{{- if and (not .create) (not .name) }}
{{- fail "serviceAccount.create is false: name the service account that the operator runs under in serviceAccount.name" }}
{{- end }}
{{- if and (not .create) .annotations }}
{{- fail "serviceAccount.annotations are given, but serviceAccount.create is false: annotate the service account where it is made" }}
{{- end }}
{{- end }}
{{- $makes := include "strimzi-backup.makesJobServiceAccount" . }}
{{- with $values.jobs.serviceAccount }}
{{- if and (not $makes) .annotations }}
{{- fail "jobs.serviceAccount.annotations are given, but jobs.serviceAccount.create is false: annotate the service account where it is made" }}
{{- end }}
{{- if and (not $makes) .namespaces }}
{{- fail "jobs.serviceAccount.namespaces are given, but jobs.serviceAccount.create is false: nothing is created in them" }}
{{- end }}
{{- range .namespaces }}
{{- if and $values.watchNamespaces (not (has . $values.watchNamespaces)) }}
{{- fail (printf "jobs.serviceAccount.namespaces names %q, which is not in watchNamespaces: no Job will ever run there" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- /* An operator under `default` shares it with Jobs that name none, in its own namespace. They get no token for it, so that is taken. */}}
{{- if eq (include "strimzi-backup.jobServiceAccount" .) (include "strimzi-backup.serviceAccount" .) }}
{{- fail "jobs.serviceAccount.name is the operator's own service account: Jobs would have the operator's rights in the cluster. Choose another name" }}
{{- end }}
{{- if and $values.azureWorkloadIdentity.clientId (not $values.azureWorkloadIdentity.enabled) }}
{{- fail "azureWorkloadIdentity.clientId is given, but azureWorkloadIdentity.enabled is false: nothing would take part. Set azureWorkloadIdentity.enabled=true or leave the client id out" }}
{{- end }}
{{- if and $makes $values.azureWorkloadIdentity.enabled (not $values.azureWorkloadIdentity.clientId) }}
{{- fail "azureWorkloadIdentity.enabled is true: give the client id of the managed identity in azureWorkloadIdentity.clientId" }}
{{- end }}
{{- end }}
