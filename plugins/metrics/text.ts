export const OPENMETRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
export const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** Whether a scraper would rather have OpenMetrics than Prometheus' own text (RFC 9110, section 12.5.1). */
export function wantsOpenMetrics(accept: string | undefined): boolean {
  const weightOf = (type: string): number => {
    let best = 0
    for (const part of (accept ?? '').toLowerCase().split(',')) {
      const [name = '', ...parameters] = part.split(';').map((one) => one.trim())
      if (name !== type) continue
      const weight = Number(parameters.find((one) => one.startsWith('q='))?.slice(2) ?? 1)
      best = Math.max(best, Number.isFinite(weight) ? weight : 0)
    }
    return best
  }
  const openMetrics = weightOf('application/openmetrics-text')
  return openMetrics > 0 && openMetrics >= weightOf('text/plain')
}

const END = '# EOF\n'

/** Of OpenMetrics, so that another text may follow. */
export function withoutEnd(text: string): string {
  return text.endsWith(END) ? text.slice(0, -END.length) : text
}

/** A bound of a bucket is a number with a fraction in OpenMetrics. */
export function boundsWithFraction(text: string): string {
  return text.replaceAll(/le="(\d+)"/g, 'le="$1.0"')
}

/** Prometheus' older text of OpenMetrics: a counter's family is named with `_total`, and there are no exemplars. */
export function prometheusText(text: string): string {
  const counters = new Set([...text.matchAll(/^# TYPE (\S+) counter$/gm)].map(([, name]) => name))
  return withoutEnd(text)
    .replaceAll(/^# (HELP|TYPE) (\S+)/gm, (line, _what, name: string) =>
      counters.has(name) ? `${line}_total` : line,
    )
    .replaceAll(/ # \{trace_id="[0-9a-f]*"\} \S+ \S+$/gm, '')
}
