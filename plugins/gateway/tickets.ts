/** `tunnel-ticket.` is how every ticket begins: a parameter of a service's own that has the same name is left alone. */
const PARAMETER = /^ticket=(tunnel-ticket\..*)$/s

/** The ticket in a path's query, and the path without it, byte for byte. */
export function ticketIn(path: string): { ticket: string; rest: string } | undefined {
  const at = path.indexOf('?')
  if (at < 0) return undefined
  const parameters = path.slice(at + 1).split('&')
  const index = parameters.findIndex((parameter) => PARAMETER.test(parameter))
  const ticket = PARAMETER.exec(parameters[index] ?? '')?.[1]
  if (ticket === undefined) return undefined
  const left = parameters.toSpliced(index, 1).join('&')
  return { ticket, rest: left === '' ? path.slice(0, at) : `${path.slice(0, at)}?${left}` }
}
