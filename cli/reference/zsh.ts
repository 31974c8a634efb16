import { kindOf, offered, quoted, type ShellCommand, type ShellOption } from './shell.ts'

/** What completes a value, as _arguments takes it. */
function action(kind: string): string {
  if (kind === '') return ' '
  if (kind.startsWith('=')) return `(${kind.slice(1)})`
  if (kind === 'place') return ' __tunnel_places'
  // Behind a blank it is run as it stands, without what _arguments would add.
  return kind === 'file' ? '_files' : ` __tunnel_values ${kind}`
}

/** Colons and brackets part a specification. */
function plain(text: string): string {
  return text.replaceAll(/[[\]:\\]/g, '\\$&')
}

function optionSpecs({ names, does, values, repeats }: ShellOption): string[] {
  const others = repeats ? '*' : names.length > 1 ? `(${names.join(' ')})` : ''
  return names.map((name) => {
    const value = values === undefined ? '' : `: :${action(kindOf(values))}`
    return quoted(`${others}${name}[${plain(does)}]${value}`)
  })
}

function placeSpecs({ places, isOpenEnded }: ShellCommand): string[] {
  return places.map((place, at) => {
    const number = isOpenEnded && at === places.length - 1 ? '*' : String(at + 1)
    // With a blank, which is for options, _arguments would show no option in this place.
    return quoted(`${number}: :${place === '' ? '()' : action(kindOf(place))}`)
  })
}

/** Another program's options: they are read, and not offered. */
function passedOnSpecs({ passedOn }: ShellCommand): string[] {
  if (passedOn === undefined) return []
  const { valued, files, plain: plainOnes } = passedOn
  const specs = [...valued].map((letter) => `!*-${letter}+: :${files.includes(letter) ? '_files' : ' '}`)
  return [...specs, ...[...plainOnes].map((letter) => `!*-${letter}`)].map(quoted)
}

export function zshCompletion(commands: readonly ShellCommand[]): string {
  const described = offered(commands).map(
    ({ name, summary }) => `    ${quoted(`${name}:${summary.replaceAll(':', '\\:')}`)}`,
  )
  const bodies = commands.map((command) => {
    const specs = [...command.options.flatMap(optionSpecs), ...passedOnSpecs(command), ...placeSpecs(command)]
    return `    ${quoted(command.name)})\n      _arguments -s -S : \\\n        ${specs.join(' \\\n        ')} ;;`
  })
  const twoWords = commands.map(({ name }) => name).filter((name) => name.includes(' '))
  return `#compdef tunnel ssh-websocket-tunnel
# zsh completion of tunnel, made by \`tunnel completion zsh\`

__tunnel_values() {
  local kind=$1 suffix=$2 at
  local -a access found
  for ((at = 2; at < CURRENT - 1; at++)); do
    case $words[at] in
      --url|--token|--context|--profile) access+=("$words[at]" "$words[at+1]") ;;
    esac
  done
  compset -P '*@'
  found=(\${(f)"$(tunnel completion --values $kind $access 2>/dev/null)"})
  if [[ -n $suffix ]]; then compadd -S "$suffix" -a found; else compadd -a found; fi
}

__tunnel_places() {
  if [[ $PREFIX == *:* ]]; then return 1; fi
  __tunnel_values machine :
  _files
}

_tunnel() {
  local command=$words[2]
  if ((CURRENT == 2)); then
    local -a commands=(
${described.join('\n')}
    )
    _describe command commands
    return
  fi
  words=("\${(@)words[2,-1]}")
  ((CURRENT--))
  case "$command $words[2]" in
    ${twoWords.map(quoted).join('|')})
      if ((CURRENT > 2)); then command="$command $words[2]"; words=("\${(@)words[2,-1]}"); ((CURRENT--)); fi ;;
  esac
  case $command in
${bodies.join('\n')}
  esac
}

if [ "$funcstack[1]" = _tunnel ]; then _tunnel "$@"
else
  # A start file may be without it.
  if ! (($+functions[compdef])); then autoload -Uz compinit && compinit -i; fi
  compdef _tunnel tunnel ssh-websocket-tunnel
fi
`
}
