#!/usr/bin/env bash
# Run `hetero` as a job on a Ray cluster: starts a one-node cluster on this machine, submits, and stops it again.
#
#     bash examples/ray_job.sh [PROMPT]
#
# Against a cluster that runs already, only the `ray job submit` line is needed, with its address and its token in
# RAY_AUTH_TOKEN (or ~/.ray/auth_token) where it asks for one.
set -euo pipefail
cd "$(dirname "$0")/.."

prompt=${1:-Once upon a time}
bin=${BIN:-.venv/bin}
gcs_port=${GCS_PORT:-6379}
dashboard_port=${DASHBOARD_PORT:-8265}

# The token is the cluster's password: who has it can run code there.
export RAY_AUTH_MODE=token
"$bin/ray" get-auth-token --generate >/dev/null

# In the foreground of a process of its own, so that stopping it stops this cluster and no other. The agent that takes
# jobs gets a free port: on a port that is taken it would never come up, and say so only in its log.
"$bin/ray" start --head --block --port "$gcs_port" --dashboard-host 127.0.0.1 --dashboard-port "$dashboard_port" \
    --dashboard-agent-listen-port 0 --disable-usage-stats >/dev/null &
cluster=$!
trap 'kill "$cluster"; wait "$cluster" 2>/dev/null || true' EXIT

address=http://127.0.0.1:$dashboard_port
until "$bin/ray" job list --address "$address" >/dev/null 2>&1; do
    kill -0 "$cluster"
    sleep 1
done

# The working directory travels to the cluster, less what .gitignore names. The node's agent may come up a little
# after the dashboard answers, and refuses jobs until then.
job=hetero-$$
tries=0
until "$bin/ray" job submit --address "$address" --submission-id "$job" --no-wait --working-dir . -- \
    "$(realpath "$bin")/python" -m hetero generate tiny --prompt "$prompt" --max-tokens 48; do
    tries=$((tries + 1))
    [ "$tries" -lt 15 ]
    kill -0 "$cluster"
    sleep 2
done
"$bin/ray" job logs --address "$address" --follow "$job"
status=$("$bin/ray" job status --address "$address" "$job" 2>&1)
echo "$status"
[[ $status == *succeeded* ]]
