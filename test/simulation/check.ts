import type { Said } from './ledger.ts'
import type { ProxyProcess } from './proxy.ts'
import type { Plan } from './talker.ts'
import type { World } from './world.ts'

/** That everything which is said of a stream is said once, at every proxy and over all of them. */
export function checkSaid(world: World): void {
  for (const proxy of world.proxies) if (!proxy.killed) checkProxy(world, proxy)
  for (const [id, plan] of world.plans) {
    const said = world.proxies.flatMap(({ ledger }) => ledger.said.get(id) ?? [])
    const fault = faultOfEnds(world, plan, said)
    if (fault !== undefined) world.violation(`${plan.kind} ${plan.index}: ${fault} (${said.join(', ')})`)
  }
}

/**
 * Over all proxies a stream is counted once, as it ended for its client. What only one end can know is left open: whether
 * a stream that lost its link to a proxy goes on through another, and how it ended when its last acknowledgement, or its
 * client's RESET, was lost with a link.
 */
function faultOfEnds(world: World, { index, kind, isGivenUp }: Plan, said: Said): string | undefined {
  const outcomes = ends(said).filter((outcome) => outcome !== 'RESUME_EXPIRED')
  if (outcomes.length > 1) return 'counted twice'
  const [outcome] = outcomes
  const client = world.talkers.find(({ plan, side }) => plan.index === index && side === 'client')
  const told = client?.error?.code ?? 'ok'
  if (outcome === undefined) {
    const isKnown = world.proxies.every(({ killed }) => !killed)
    const mayBeElsewhere = said.some((each) => /^stream\.(moved|closed RESUME_EXPIRED)/.test(each))
    return told === 'ok' && isKnown && !mayBeElsewhere ? 'not counted' : undefined
  }
  if ((told === 'ok') === (outcome === 'ok')) return undefined
  const isLastWord = kind === 'tcp' && (told === 'UNKNOWN_STREAM' || outcome === 'SHUTTING_DOWN')
  // The last acknowledgement of a sealed stream was lost, and its client has had no link since.
  const machine = world.talkers.find(({ plan, side }) => plan.index === index && side === 'machine')
  const isUnheard =
    kind === 'ssh' && told === 'RESUME_EXPIRED' && machine?.closed && machine.error === undefined
  return isLastWord || isUnheard || isGivenUp ? undefined : `its client was told ${told}`
}

/** How it ended where its way had stood: a refusal may be lost with the link, and the stream is then opened again. */
function ends(said: Said): string[] {
  return said.flatMap((each, index) => (said[index - 1] === 'onOpen' ? endOf(each) : []))
}

function endOf(said: string): string[] {
  const [, outcome] = /^stream\.(?:closed|refused) (.*)$/.exec(said) ?? []
  return outcome === undefined ? [] : [outcome]
}

function checkProxy(world: World, { ledger }: ProxyProcess): void {
  const counted = new Map<string, number>()
  for (const [id, said] of ledger.said) {
    const plan = world.plans.get(id)
    const name = `${plan?.kind} ${plan?.index}`
    const fault = faultOf(said)
    if (fault !== undefined) world.violation(`${name}: ${fault} (${said.join(', ')})`)
    for (const outcome of said.flatMap(endOf)) counted.set(outcome, (counted.get(outcome) ?? 0) + 1)
  }
  const requests = [...ledger.requests].sort().join()
  const audited = [...counted].sort().join()
  if (requests !== audited) world.violation(`requests ${requests} were counted, and ${audited} audited`)
}

/** At one proxy a stream may be opened, end or move, and come back; each time it is `onOpen`, its end, `onClose`. */
function faultOf(said: Said): string | undefined {
  let isOpen = false
  let ended: string | undefined
  for (const each of said) {
    const [what = '', outcome] = each.split(' ')
    if (what === 'onOpen') {
      if (isOpen) return 'opened twice'
      isOpen = true
    } else if (what === 'onClose') {
      if (outcome !== ended) return 'onClose without an end'
      isOpen = false
      ended = undefined
    } else if (what === 'stream.refused') {
      if (isOpen) return 'refused when it was open'
    } else if (what.startsWith('stream.')) {
      if (ended !== undefined) return 'two ends'
      ended = outcome
    }
  }
  if (isOpen) return 'onOpen without onClose'
  return ended === undefined ? undefined : 'an end without onClose'
}
