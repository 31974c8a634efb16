import type { Asked } from './asked.ts'

/** `tunnel-ticket.` is how every ticket begins: a parameter of a service's own that has the same name is left alone. */
const PARAMETER = /^ticket=(tunnel-ticket\..*)$/s

export interface FoundTicket {
  ticket: string
  /** The path without it, byte for byte. */
  rest: string
}

/** The ticket that a browser brings in the query of a host's path. */
export function ticketIn({ form, path }: Asked): FoundTicket | undefined {
  if (form !== 'host') return undefined
  const at = path.indexOf('?')
  if (at < 0) return undefined
  const parameters = path.slice(at + 1).split('&')
  const index = parameters.findIndex((parameter) => PARAMETER.test(parameter))
  const ticket = PARAMETER.exec(parameters[index] ?? '')?.[1]
  if (ticket === undefined) return undefined
  const left = parameters.toSpliced(index, 1).join('&')
  return { ticket, rest: left === '' ? path.slice(0, at) : `${path.slice(0, at)}?${left}` }
}
