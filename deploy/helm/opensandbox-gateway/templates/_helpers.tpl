{{- define "opensandbox-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* What all objects are called. Short enough for `-metrics` behind it. */}}
{{- define "opensandbox-gateway.fullname" -}}
{{- $name := include "opensandbox-gateway.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 55 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 55 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* What is in no namespace is told apart by that of the release. */}}
{{- define "opensandbox-gateway.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "opensandbox-gateway.fullname" .) }}
{{- end }}

{{- define "opensandbox-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "opensandbox-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "opensandbox-gateway.labels" -}}
{{ include "opensandbox-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "opensandbox-gateway.sandboxNamespace" -}}
{{- default .Release.Namespace .Values.sandboxNamespace }}
{{- end }}

{{- define "opensandbox-gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "opensandbox-gateway.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "opensandbox-gateway.subjects" -}}
- kind: ServiceAccount
  name: {{ include "opensandbox-gateway.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* The name of the Secret with the API key; empty if there is none. */}}
{{- define "opensandbox-gateway.keySecret" -}}
{{- if .Values.apiKey.existingSecret }}
{{- .Values.apiKey.existingSecret }}
{{- else if .Values.apiKey.value }}
{{- include "opensandbox-gateway.fullname" . }}
{{- end }}
{{- end }}

{{- /* Whether the ConfigMap is the chart's own. */}}
{{- define "opensandbox-gateway.ownConfig" -}}
{{- if not (or .Values.config.existingConfigMap .Values.config.existingSecret) }}true{{ end }}
{{- end }}

{{- /* What the values say that would not work, or not be safe. */}}
{{- define "opensandbox-gateway.check" -}}
{{- $namespace := include "opensandbox-gateway.sandboxNamespace" . }}
{{- $ownKey := include "opensandbox-gateway.keySecret" . }}
{{- if and .Values.tenants.enabled $ownKey }}
{{- fail "apiKey and tenants exclude each other: with tenants, server.api_key must not be set" }}
{{- end }}
{{- if not (or $ownKey .Values.tenants.enabled .Values.config.toml .Values.config.existingConfigMap .Values.config.existingSecret) }}
{{- fail "apiKey.existingSecret or apiKey.value is needed: the gateway does not start without an API key" }}
{{- end }}
{{- if and .Values.config.existingConfigMap .Values.config.existingSecret }}
{{- fail "config.existingConfigMap and config.existingSecret exclude each other" }}
{{- end }}
{{- $named := printf "(?m)^\\s*namespace\\s*=\\s*[\"']%s[\"']" (regexQuoteMeta $namespace) }}
{{- if and .Values.config.toml (not (regexMatch $named .Values.config.toml)) }}
{{- fail (printf "config.toml has no line `namespace = %q`: kubernetes.namespace must be sandboxNamespace, where the gateway's role is" $namespace) }}
{{- end }}
{{- if lt (int .Values.shutdown.gracePeriodSeconds) (add .Values.shutdown.preStopSeconds 35 | int) }}
{{- fail "shutdown.gracePeriodSeconds must be at least shutdown.preStopSeconds + 35: creations that are under way take up to 30 s to finish" }}
{{- end }}
{{- end }}
