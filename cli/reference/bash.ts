import { kindOf, offered, passingOn, quoted, type ShellCommand } from './shell.ts'

/** A case statement's lines: what is asked for, and what is said. */
function cases(pairs: readonly (readonly [pattern: string, said: string])[]): string {
  return pairs.map(([pattern, said]) => `    ${pattern}) echo ${quoted(said)} ;;`).join('\n')
}

/** For bash 3.2 and later, with or without the package bash-completion. */
export function bashCompletion(commands: readonly ShellCommand[]): string {
  const options = commands.map(
    ({ name, options: its }) => [quoted(name), its.flatMap(({ names }) => names).join(' ')] as const,
  )
  const values = commands.flatMap(({ name, options: its }) =>
    its
      .filter((option) => option.values !== undefined)
      .map((option) => {
        const patterns = option.names.map((flag) => quoted(`${name} ${flag}`)).join('|')
        return [patterns, kindOf(option.values!) || '-'] as const
      }),
  )
  const places = commands.flatMap(({ name, places: its, isOpenEnded }) =>
    its.map((place, at) => {
      const isLast = isOpenEnded && at === its.length - 1
      return [isLast ? `${quoted(`${name} `)}*` : quoted(`${name} ${at}`), kindOf(place) || '-'] as const
    }),
  )
  const twoWords = commands.map(({ name }) => name).filter((name) => name.includes(' '))
  return `# bash completion of tunnel, made by \`tunnel completion bash\`

__tunnel_options() {
  case $1 in
${cases(options)}
  esac
}

# What completes the value of an option; - for nothing, and no answer where it takes none.
__tunnel_option_kind() {
  case "$1 $2" in
${cases(values)}
    *) __tunnel_passed_on_kind "$1" "$2" ;;
  esac
}

# The same of an option that is another program's; its letter is the last one of a cluster such as -vp.
__tunnel_passed_on_kind() {
  local valued= files=
  case $1 in
${passingOn(commands)
  .map(([name, valued, files]) => `    ${quoted(name)}) valued=${valued} files=${files} ;;`)
  .join('\n')}
    *) return ;;
  esac
  case $2 in
    --*) ;;
    -*["$valued"]?*) ;;
    -*["$files"]) echo file ;;
    -*["$valued"]) echo - ;;
  esac
}

__tunnel_argument_kind() {
  case "$1 $2" in
${cases(places)}
  esac
}

__tunnel_complete_kind() {
  local kind=$1 current=$2
  shift 2
  case $kind in
    =*) COMPREPLY=($(compgen -W "\${kind#=}" -- "$current")) ;;
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")) ;;
    place)
      case $current in *:*|*/*) ;; *) COMPREPLY=($(compgen -S : -W "$(tunnel completion --values machine "$@" 2>/dev/null)" -- "$current")) ;; esac
      if ((\${#COMPREPLY[@]} > 0)); then compopt -o nospace 2>/dev/null; COMPREPLY+=($(compgen -f -- "$current"))
      else __tunnel_complete_kind file "$current"
      fi ;;
    machine|context|profile|setting)
      local lead=
      case $current in *@*) lead=\${current%@*}@ ;; esac
      COMPREPLY=($(compgen -P "$lead" -W "$(tunnel completion --values "$kind" "$@" 2>/dev/null)" -- "\${current#"$lead"}")) ;;
  esac
}

_tunnel() {
  # Not COMP_WORDS, in which an address is several words.
  local line=\${COMP_LINE:0:COMP_POINT} command= position=0 at word kind
  local -a words access
  read -ra words <<< "$line"
  case $line in *[[:space:]]) words+=('') ;; esac
  local last=$((\${#words[@]} - 1))
  local current=\${words[last]} before=\${words[last-1]}
  for ((at = 1; at < last; at++)); do
    word=\${words[at]}
    case $word in
      --url|--token|--context|--profile)
        if ((at + 1 < last)); then access+=("$word" "\${words[at+1]}"); fi
        ((at++)) ;;
      -*) if [ -n "$(__tunnel_option_kind "$command" "$word")" ]; then ((at++)); fi ;;
      *)
        if [ -z "$command" ]; then command=$word
        else
          case "$command $word" in
            ${twoWords.map(quoted).join('|')}) command="$command $word" ;;
            *) ((position++)) ;;
          esac
        fi ;;
    esac
  done
  COMPREPLY=()
  if ((last > 1)); then
    kind=$(__tunnel_option_kind "$command" "$before")
    if [ -n "$kind" ]; then __tunnel_complete_kind "$kind" "$current" "\${access[@]}"; return; fi
  fi
  if [ -z "$command" ]; then
    COMPREPLY=($(compgen -W ${quoted(
      offered(commands)
        .map(({ name }) => name)
        .join(' '),
    )} -- "$current"))
    return
  fi
  case $current in
    -*) COMPREPLY=($(compgen -W "$(__tunnel_options "$command")" -- "$current")) ;;
    *) __tunnel_complete_kind "$(__tunnel_argument_kind "$command" "$position")" "$current" "\${access[@]}" ;;
  esac
}

complete -F _tunnel tunnel ssh-websocket-tunnel
`
}
