/** In its largest unit: '3 min'. */
export function spanText(ms: number): string {
  const [unit, size] = (
    [
      ['d', 86_400_000],
      ['h', 3_600_000],
      ['min', 60_000],
    ] as const
  ).find(([, size]) => ms >= 2 * size) ?? ['s', 1_000]
  return `${Math.floor(ms / size)} ${unit}`
}

/** In milliseconds: '4.2 ms', '310 ms'. */
export function msText(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
}
