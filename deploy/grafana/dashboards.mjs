// Grafana's dashboards as tables: `node deploy/make.mjs` makes the JSON. A row holds panels; a panel is its title, its unit and
// its queries, each with the legend of its lines. A test runs every query.

import { BURN_RATES, budgetOf, ratioOf, SLOS } from '../prometheus/slos.mjs'

const OF = 'job="$job",instance=~"$instance"'
const PANELS_IN_A_ROW = 3
const SIZE = { w: 24 / PANELS_IN_A_ROW, h: 7 }

const p = (title, unit, ...queries) => ({ title, unit, queries })
const q = (expr, legend = '{{instance}}') => ({ expr, legend })
const rate = (metric, by, more = '') => `sum by (${by}) (rate(${metric}{${OF}${more}}[$__rate_interval]))`
const level = (metric, by) => `sum by (${by}) (${metric}{${OF}})`
const quantile = (share, metric, by = '', more = '') =>
  `histogram_quantile(${share}, sum by (le${by}) (rate(${metric}_bucket{${OF}${more}}[$__rate_interval])))`
const spread = (metric, more = '') =>
  [0.5, 0.95, 0.99].map((share) => ({
    ...q(quantile(share, metric, '', more), `p${share * 100}`),
    exemplar: true,
  }))

const SERVICE = {
  uid: 'tunnel-service',
  title: 'Tunnel: what users get',
  rows: {
    'Objectives, over 30 days': [
      p('Requests', 'ops', q('tunnel:requests:rate5m{job="$job"}', 'streams that are over')),
      ...SLOS.map((slo) =>
        p(
          `Budget for ${slo.name}: 1 is as fast as it lasts`,
          'none',
          ...BURN_RATES.map(({ long }) => q(`${ratioOf(slo, long)}{job="$job"} / ${budgetOf(slo)}`, long)),
        ),
      ),
    ],
    Streams: [
      p('Opened, by kind', 'ops', q(rate('tunnel_stream_opens_total', 'kind', ',outcome="ok"'), '{{kind}}')),
      p(
        'Not opened, and why',
        'ops',
        q(rate('tunnel_stream_opens_total', 'outcome', ',outcome!="ok"'), '{{outcome}}'),
      ),
      p(
        'Ended by an error',
        'ops',
        q(rate('tunnel_requests_total', 'outcome', ',outcome!="ok"'), '{{outcome}}'),
      ),
      p('Share of errors', 'percentunit', q('tunnel:request_errors:ratio_rate5m{job="$job"}', 'errors')),
      p(
        'Now there, by kind and state',
        'short',
        q(level('tunnel_streams', 'kind, state'), '{{kind}} {{state}}'),
      ),
      p('Resumed', 'ops', q(rate('tunnel_stream_resumes_total', 'outcome'), '{{outcome}}')),
    ],
    'How long it takes': [
      p('To open a stream', 's', ...spread('tunnel_stream_open_seconds', ',kind!="http"')),
      p(
        'HTTP, to the head of the response',
        's',
        ...spread('tunnel_request_duration_seconds', ',kind="http"'),
      ),
      p('Round trip of a link', 's', ...spread('tunnel_heartbeat_rtt_seconds')),
    ],
    'Links and payload': [
      p('Links', 'short', q(level('tunnel_active_connections', 'role'), '{{role}}')),
      p('Links of each proxy', 'short', q(level('tunnel_active_connections', 'instance'))),
      p('Payload', 'Bps', q(rate('tunnel_bytes_total', 'direction, mode'), '{{mode}} {{direction}}')),
    ],
    Refusals: [
      p('Credentials', 'ops', q(rate('tunnel_auth_failures_total', 'code'), '{{code}}')),
      p('Limits', 'ops', q(rate('tunnel_rate_limited_total', 'scope, tier'), '{{scope}} {{tier}}')),
      p(
        'Errors that peers were told',
        'ops',
        q(rate('tunnel_errors_total', 'category, code'), '{{category}} {{code}}'),
      ),
    ],
  },
}

const PROXIES = {
  uid: 'tunnel-proxies',
  title: 'Tunnel: the proxies',
  rows: {
    Health: [
      p(
        'Checks that fail',
        'short',
        q(`sum by (instance, check) (1 - tunnel_health_check_ok{${OF}})`, '{{instance}} {{check}}'),
      ),
      p('Running for', 's', q(`time() - process_start_time_seconds{${OF}}`)),
      p(
        'Certificate good for',
        's',
        q(`tunnel_tls_certificate_expiry_timestamp_seconds{${OF}} - time()`, '{{instance}} {{certificate}}'),
      ),
    ],
    Saturation: [
      p('CPU', 'percentunit', q(`rate(process_cpu_seconds_total{${OF}}[$__rate_interval])`)),
      p('Lateness of the event loop', 's', q(`tunnel_event_loop_lag_seconds{${OF}}`)),
      p('Garbage collection', 'percentunit', q(rate('nodejs_gc_duration_seconds_sum', 'instance'))),
      p('Memory', 'bytes', q(`process_resident_memory_bytes{${OF}}`)),
      p(
        'Heap',
        'bytes',
        q(`nodejs_heap_size_used_bytes{${OF}}`, '{{instance}} used'),
        q(`nodejs_heap_size_total_bytes{${OF}}`, '{{instance}} taken'),
      ),
      p('Descriptors in use', 'percentunit', q(`process_open_fds{${OF}} / process_max_fds{${OF}}`)),
      p('Held by streams', 'bytes', q(`tunnel_stream_buffer_bytes{${OF}}`)),
      p('Unsent on links', 'bytes', q(`tunnel_link_send_buffer_bytes{${OF}}`)),
      p('Most of a budget that a user has', 'percentunit', q(`tunnel_stream_budget_ratio{${OF}}`)),
    ],
    'SSH connections': [
      p('Connections', 'short', q(level('tunnel_ssh_pool_connections', 'state'), '{{state}}')),
      p('Time to connect', 's', ...spread('tunnel_ssh_connect_seconds')),
      p('Wait for a place', 's', ...spread('tunnel_ssh_pool_wait_seconds')),
      p('Requests that wait', 'short', q(level('tunnel_queue_size', 'priority'), '{{priority}}')),
      p('Circuits', 'short', q(level('tunnel_circuit_breaker_state', 'state'), '{{state}}')),
      p(
        'Circuits: changes and refusals',
        'ops',
        q(rate('tunnel_circuit_transitions_total', 'to'), 'to {{to}}'),
        q(rate('tunnel_circuit_refusals_total', 'job'), 'refused'),
      ),
    ],
    Replicas: [
      p('Replicas that each knows, itself among them', 'short', q(`tunnel_cluster_replicas{${OF}}`)),
      p('Machines that are at other replicas alone', 'short', q(`tunnel_cluster_routes{${OF}}`)),
      p('Streams that another replica handed over', 'ops', q(rate('tunnel_relay_hops_total', 'instance'))),
      p('Whether Redis, or the state folder, answers', 'short', q(`tunnel_state_available{${OF}}`)),
    ],
    'Routes and records': [
      p(
        'Requests to routes',
        'ops',
        q(rate('http_request_duration_seconds_count', 'route, status_code'), '{{route}} {{status_code}}'),
      ),
      p('Routes, p95', 's', q(quantile(0.95, 'http_request_duration_seconds', ', route'), '{{route}}')),
      p(
        'Lines that were lost',
        'short',
        q(`increase(tunnel_log_lines_lost_total{${OF}}[1h])`, '{{instance}} log'),
        q(`increase(tunnel_audit_lines_lost_total{${OF}}[1h])`, '{{instance}} audit trail'),
        q(`increase(tunnel_audit_failures_total{${OF}}[1h])`, '{{instance}} audit trail, failures'),
      ),
    ],
  },
}

const datasource = { type: 'prometheus', uid: '$datasource' }

function variable(name, label) {
  return {
    ...{ name, label, type: 'query', datasource, refresh: 2 },
    query: `label_values(tunnel_health_check_ok${name === 'instance' ? '{job="$job"}' : ''}, ${name})`,
    ...(name === 'instance' && { multi: true, includeAll: true, allValue: '.*' }),
  }
}

function panel({ title, unit, queries }, index, y) {
  return {
    type: 'timeseries',
    title,
    datasource,
    gridPos: {
      ...SIZE,
      x: (index % PANELS_IN_A_ROW) * SIZE.w,
      y: y + Math.floor(index / PANELS_IN_A_ROW) * SIZE.h,
    },
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    targets: queries.map(({ legend, expr, exemplar = false }, number) => ({
      refId: String.fromCharCode(65 + number),
      datasource,
      expr,
      legendFormat: legend,
      exemplar,
    })),
  }
}

function panels(rows) {
  let y = 0
  let id = 0
  return Object.entries(rows).flatMap(([title, its]) => {
    const row = { type: 'row', title, collapsed: false, gridPos: { h: 1, w: 24, x: 0, y } }
    const below = its.map((one, index) => panel(one, index, y + 1))
    y += 1 + Math.ceil(its.length / PANELS_IN_A_ROW) * SIZE.h
    return [row, ...below].map((one) => ({ id: ++id, ...one }))
  })
}

/** The dashboards, as Grafana reads them. */
export function dashboards() {
  return [SERVICE, PROXIES].map(({ uid, title, rows }) => ({
    ...{ uid, title, tags: ['tunnel'], schemaVersion: 39, editable: true, refresh: '30s', timezone: '' },
    time: { from: 'now-3h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
        variable('job', 'Job'),
        variable('instance', 'Proxy'),
      ],
    },
    panels: panels(rows),
  }))
}
