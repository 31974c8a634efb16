export const OPENMETRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

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

/**
 * Prometheus' text with each histogram in milliseconds in seconds too: that is the base unit which both formats ask for,
 * and the names in milliseconds are older.
 */
export function withSeconds(text: string): string {
  return text
    .split(/\n{2,}/)
    .map((family) => {
      const name = /^# TYPE (\S+_ms) histogram$/m.exec(family)?.[1]
      if (name === undefined) return family
      const lines = family.split('\n').map((line) => {
        const renamed = line.replace(name, `${name.slice(0, -3)}_seconds`)
        if (line.startsWith('#')) return renamed
        if (line.startsWith(`${name}_sum`)) return renamed.replace(/\S+$/, thousandth)
        return renamed.replace(/le="([^"]+)"/, (_match, bound: string) => `le="${thousandth(bound)}"`)
      })
      return `${family.trimEnd()}\n\n${lines.join('\n').trimEnd()}`
    })
    .join('\n\n')
}

/** OpenMetrics 1.0 of Prometheus' text: a counter's family goes without `_total`, and the end is marked. */
export function openMetrics(text: string): string {
  const lines: string[] = []
  const counters = new Set([...text.matchAll(/^# TYPE (\S+)_total counter$/gm)].map(([, name]) => name))
  for (const line of text.split('\n')) {
    if (line === '') continue
    const family = /^# (?:HELP|TYPE) (\S+)_total /.exec(line)?.[1]
    if (family !== undefined && counters.has(family)) lines.push(line.replace(`${family}_total`, family))
    // A bound is a number with a fraction.
    else lines.push(line.startsWith('#') ? line : line.replace(/le="(\d+)"/, 'le="$1.0"'))
  }
  return `${lines.join('\n')}\n# EOF\n`
}

function thousandth(number: string): string {
  const value = Number(number)
  return Number.isFinite(value) ? String(Number((value / 1_000).toPrecision(15))) : number
}
