import { listMachines, type Machine } from '../client/machines.ts'
import { addressesOf } from '../dial/addresses.ts'
import { askPublicKey, callProxy, fetchFromProxy } from '../dial/api.ts'
import type { EnrolledMachine, EnrolmentCode } from '../dial/enrolment.ts'
import type { Access } from './credentials.ts'

/** How long a plain question to the proxy may take, in ms. */
const QUESTION_MS = 15_000

/** A route's answer as JSON, asked with the person's token. @throws {TunnelError} */
export async function ask<T>({ urls, token }: Access, route: string, method = 'GET'): Promise<T> {
  return (await callProxy(addressesOf(urls), { route, method, token, timeoutMs: QUESTION_MS })) as T
}

/** A code with which `machine` gets its token. @throws {TunnelError} */
export function askCode(access: Access, machine: string): Promise<EnrolmentCode> {
  return ask(access, `machines/${encodeURIComponent(machine)}/enrolment`, 'POST')
}

/** A machine's token for a code; needs no token. @throws {TunnelError} TICKET_INVALID, RATE_LIMITED */
export async function exchangeCode({ urls }: Pick<Access, 'urls'>, code: string): Promise<EnrolledMachine> {
  const question = { route: 'enrolments', method: 'POST', body: { code }, timeoutMs: QUESTION_MS }
  return (await callProxy(addressesOf(urls), question)) as EnrolledMachine
}

/** @throws {TunnelError} */
export function askMachines({ urls, token }: Access): Promise<Machine[]> {
  return listMachines(addressesOf(urls), token, QUESTION_MS)
}

/** A route that asks for no token, whatever it answers. @throws {TunnelError} */
export function fetchOpen({ urls }: Access, route: string): Promise<Response> {
  return fetchFromProxy(addressesOf(urls), { route, timeoutMs: QUESTION_MS })
}

/** The public SSH key with which the proxy logs in for the caller. @throws {TunnelError} */
export function askKey({ urls, token }: Access): Promise<string> {
  return askPublicKey(addressesOf(urls), token, QUESTION_MS)
}
