from tests.chaos.run_chaos import main

main()
