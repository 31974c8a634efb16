/** Whether `text` is 'HOST:PORT', also '[::1]:22'. */
export function isTarget(text: string): boolean {
  const match = /^(\[[0-9a-f:.]+\]|[^\s:[\]/@]+):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[2] ?? 0)
  return port >= 1 && port <= 65_535
}
