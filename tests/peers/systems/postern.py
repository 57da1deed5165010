class Postern:
    name = "postern"; title="Postern"
    def install(self, packages): 
        from .install import Missing
        raise Missing("todo")
